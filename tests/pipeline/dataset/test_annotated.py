"""What annotations make of recordings, by the real stage: labels, classes, and the table that training reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from birdcache.errors import PipelineError
from birdcache.params import load as parameters
from birdcache.params.sections import DataParams
from pipeline import recordings as stage
from tests.fixtures.tiny import ROOT

Run = Callable[..., dict[str, pd.DataFrame]]


@pytest.fixture
def run(data_params: Callable[..., DataParams], birdclef: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that writes rows of annotations/times.csv, runs the stage and reads its tables as text."""
    shipped = parameters.load(ROOT / "params.yaml")
    machine = shipped.machine.model_copy(update={"workers": 1})

    def run_stage(*rows: str, **changes: object) -> dict[str, pd.DataFrame]:
        Path("annotations/times.csv").write_text("\n".join(["file,start_s,end_s,label", *rows]) + "\n")
        settings = shipped.model_copy(update={"data": data_params(**changes), "machine": machine})
        monkeypatch.setattr(parameters, "load", lambda: settings)
        stage.main()
        names = ("recordings", "annotations", "labels", "audio")
        return {name: pd.read_csv(f"data/tables/{name}.csv", dtype=str, keep_default_na=False) for name in names}

    return run_stage


def test_without_annotations_the_table_is_empty_and_labels_stay(run: Run) -> None:
    tables = run()
    assert list(tables["annotations"].columns) == ["recording", "start_s", "end_s", "label"]
    assert len(tables["annotations"]) == 0
    assert set(tables["recordings"]["label"]) == {"robin", "wren", "1234"}


def test_annotated_recording_is_what_its_annotations_say(run: Run) -> None:
    tables = run("robin/XC1.ogg,0,0.3,robin", "robin/XC1.ogg,0.3,1.2,owl", "robin/XC1.ogg,0.1,0.2,wren")
    recordings = tables["recordings"].set_index("recording")
    assert tuple(recordings.loc["robin/XC1.ogg", ["label", "secondary"]]) == ("owl", "robin wren")
    assert tuple(recordings.loc["robin/XC0.ogg", ["label", "secondary"]]) == ("robin", "wren owl")
    assert recordings.loc["robin/XC1.ogg", "author"] == "ann 1"
    assert [tuple(row) for row in tables["annotations"].to_numpy()] == [
        ("robin/XC1.ogg", "0.0", "0.3", "robin"),
        ("robin/XC1.ogg", "0.1", "0.2", "wren"),
        ("robin/XC1.ogg", "0.3", "1.2", "owl"),
    ]
    assert json.loads(Path("reports/data/summary.json").read_text())["annotations"] == {"times": 3, "recordings": 1}


def test_label_that_only_annotations_name_is_a_class(run: Run) -> None:
    tables = run("robin/XC1.ogg,0,1,robin", "robin/XC1.ogg,0.3,0.4,jay", "wren/XC2.ogg,0,1,wren", "XC2,0.3,0.4,jay")
    counts = tables["labels"].set_index("label")["recordings"]
    assert counts.to_dict() == {"1234": "1", "jay": "2", "robin": "2", "wren": "2"}
    assert list(tables["labels"]["index"]) == ["0", "1", "2", "3"]


def test_corrected_labels_leave_the_audio_as_it_is(run: Run) -> None:
    before = run("XC1,0,1,robin")["audio"]
    after = run("XC1,0,1,owl", "XC2,0,1,owl")["audio"]
    pd.testing.assert_frame_equal(before, after)


def test_annotated_soundscape_becomes_a_recording(run: Run) -> None:
    tables = run("dawn,2,4,owl")
    row = tables["recordings"].set_index("recording").loc["test_soundscapes/dawn.ogg"]
    assert (row["label"], row["author"], row["rating"], row["duration_s"]) == ("owl", "", "", "10.0")
    assert "chorus/test_soundscapes/dawn.ogg" in set(tables["audio"]["path"])


def test_layout_annotations_has_only_what_is_annotated(run: Run) -> None:
    shutil.rmtree("chorus/test_soundscapes")
    Path("chorus/train.csv").unlink()
    none = {"soundscapes": None, "soundscape_truth": None}
    tables = run("XC1,0,1,robin", "XC4,0.5,2,jay", layout="annotations", **none)
    assert list(tables["recordings"]["recording"]) == ["train_audio/1234/XC4.ogg", "train_audio/robin/XC1.ogg"]
    with pytest.raises(PipelineError, match="chorus: lists no recording in layout annotations"):
        run(layout="annotations", **none)


def test_last_window_is_cut_at_the_end_and_told_unless_it_is_rounding(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(run("XC1,0,1.3,robin")["annotations"]["end_s"]) == ["1.25"]
    assert "are cut there" not in capsys.readouterr().out
    assert list(run("XC1,0,1.2,robin", "XC1,1,4,robin")["annotations"]["end_s"]) == ["1.2", "1.25"]
    assert (
        "WARNING: 1 annotation is cut at a recording's end, first annotations/times.csv: row 3, "
        "which ends at 4 s in robin/XC1.ogg (1.25 s)"
    ) in capsys.readouterr().out


def test_time_that_ends_long_after_its_recording_is_refused(run: Run) -> None:
    message = r"1 annotation lies behind .*\n  annotations/times\.csv: row 2: begins or .* robin/XC1\.ogg \(1\.25 s"
    with pytest.raises(PipelineError, match=message):
        run("XC1,0,30,robin")


@pytest.mark.parametrize("row", ["XC1,1.25,1.3,robin", "XC1,1.3,1.32,robin"])
def test_annotation_that_begins_at_the_end_is_refused_and_not_turned_round(run: Run, row: str) -> None:
    with pytest.raises(PipelineError, match=r"row 3: begins or ends behind the end of robin/XC1\.ogg \(1\.25 s\)"):
        run("XC1,0,1,robin", row)


def test_annotations_of_a_refused_file_are_left_out_with_it(run: Run) -> None:
    Path("chorus/train_audio/robin/XC1.ogg").write_bytes(b"")
    tables = run("XC1,0,1,jay", "XC2,0,1,wren")
    assert list(tables["annotations"]["recording"]) == ["wren/XC2.ogg"]
    assert "jay" not in set(tables["labels"]["label"])


def test_common_names_of_the_taxonomy_are_labels(run: Run, birdclef: Path) -> None:
    (birdclef / "taxonomy.csv").write_text("primary_label,common_name\nwren,Eurasian Wren\n")
    assert list(run("XC1,0,1,eurasian wren")["annotations"]["label"]) == ["wren"]


def test_class_with_a_space_is_refused_with_a_hint_that_works(run: Run, birdclef: Path) -> None:
    folders = {"layout": "folders", "root": "chorus/train_audio", "soundscapes": None, "soundscape_truth": None}
    (birdclef / "train_audio/robin").rename(birdclef / "train_audio/scarlet robin")
    with pytest.raises(PipelineError, match=r"row 2: label holds a space, .* rename a class's folder alike"):
        run("XC1,0,1,scarlet robin", **folders)
    (birdclef / "train_audio/scarlet robin").rename(birdclef / "train_audio/scarlet_robin")
    assert list(run("XC1,0,1,scarlet_robin", **folders)["annotations"]["label"]) == ["scarlet_robin"]


def test_name_of_several_labels_and_class_in_another_case_are_refused_by_row(run: Run, birdclef: Path) -> None:
    (birdclef / "taxonomy.csv").write_text("primary_label,common_name\nwren,Small Bird\nowl,Small Bird\n")
    with pytest.raises(PipelineError) as raised:
        run("XC1,0,1,small bird", "XC1,0,1,Robin", "XC1,0,1,wren")
    assert str(raised.value).splitlines()[1:] == [
        "  row 2: label 'small bird' names several labels: owl, wren; write the one you mean",
        "  row 3: label 'Robin' differs from label robin in case only; spell both the same",
    ]


def test_same_row_twice_counts_once(run: Run) -> None:
    assert len(run("XC1,0,1,robin", "robin/XC1.ogg,0,1,robin")["annotations"]) == 1


def test_same_row_in_two_tables_does_not_make_a_label_primary(run: Run) -> None:
    Path("annotations/again.csv").write_text("file,start_s,end_s,label\nXC1,0,0.6,owl\n")
    recordings = run("XC1,0,0.6,owl", "XC1,0,1,robin")["recordings"].set_index("recording")
    assert tuple(recordings.loc["robin/XC1.ogg", ["label", "secondary"]]) == ("robin", "owl")
