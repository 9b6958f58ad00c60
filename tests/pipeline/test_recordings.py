"""Stage `recordings` on a small data set: its tables, its report, and files that cannot be used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from birdcache.errors import PipelineError, run_stage
from birdcache.params import load as params
from birdcache.params.sections import DataParams
from pipeline import recordings as stage
from pipeline.dataset.scan import scan_file, scan_files
from tests.fixtures.tiny import ROOT
from tests.torture.ogg_files import sound, without_page

WriteClip = Callable[..., Path]
MakeParams = Callable[..., DataParams]
PARAMS = Path(__file__).parents[2] / "params.yaml"
TABLES = ["recordings", "audio", "labels", "soundscapes", "windows", "soundscape_truth", "submission_labels"]


@pytest.fixture
def run(birdclef: Path, data_params: MakeParams) -> Callable[..., dict[str, pd.DataFrame]]:
    """A function that runs the stage on the data set and returns its tables by name."""

    def run_stage_on(**changes: object) -> dict[str, pd.DataFrame]:
        settings = YAML(typ="safe").load(PARAMS.read_text())
        settings["data"] = data_params(**changes).model_dump()
        settings["machine"]["workers"] = 1
        with Path("params.yaml").open("w") as file:
            YAML(typ="safe").dump(settings, file)
        stage.main()
        return {name: pd.read_csv(f"data/tables/{name}.csv", dtype=str, keep_default_na=False) for name in TABLES}

    return run_stage_on


def report() -> Any:
    return json.loads(Path("reports/data/summary.json").read_text())


def refused() -> pd.DataFrame:
    return pd.read_csv("reports/data/refused.csv", index_col="file")


def test_tables_hold_the_columns_that_later_stages_read(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    tables = run()
    assert {name: " ".join(table.columns) for name, table in tables.items()} == {
        "recordings": "recording label secondary author rating latitude longitude date fold sha256 sound "
        "duration_s sample_rate_hz channels source",
        "audio": "sha256 path duration_s read_as",
        "labels": "index label scientific_name common_name class_name recordings",
        "soundscapes": "sha256 path duration_s read_as soundscape site date time sound",
        "windows": "soundscape start_s end_s labels",
        "soundscape_truth": "row_id labels",
        "submission_labels": "label column",
    }


def test_every_usable_recording_has_a_row(run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path) -> None:
    table = run()["recordings"].set_index("recording")
    assert list(table.index) == ["1234/XC4.ogg", "robin/XC0.ogg", "robin/XC1.ogg", "wren/XC2.ogg", "wren/XC3.ogg"]
    content = (birdclef / "train_audio/robin/XC1.ogg").read_bytes()
    assert table.loc["robin/XC1.ogg", "sha256"] == hashlib.sha256(content).hexdigest()
    assert tuple(table.loc["robin/XC1.ogg", ["duration_s", "sample_rate_hz", "channels"]]) == ("1.25", "32000", "1")


def test_secondary_labels_are_those_that_can_be_learnt(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    table = run()["recordings"].set_index("recording")["secondary"]
    assert table["robin/XC0.ogg"] == "wren"  # `owl` has no recording
    assert table["wren/XC2.ogg"] == ""  # its own label
    assert report()["secondary_labels"] == {"recordings": 3, "unknown": {"owl": 5}}


def test_audio_is_listed_once_per_content_sorted_by_hash(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    shutil.copy(birdclef / "train_audio/robin/XC0.ogg", birdclef / "train_audio/wren/XC3.ogg")
    tables = run()
    assert len(tables["recordings"]) == 5
    assert len(tables["audio"]) == 4
    assert tables["audio"]["sha256"].is_monotonic_increasing
    assert set(tables["audio"]["sha256"]) == set(tables["recordings"]["sha256"])
    assert "chorus/train_audio/robin/XC0.ogg" in set(tables["audio"]["path"])
    assert report()["contents"]["duplicates"] == [["robin/XC0.ogg", "wren/XC3.ogg"]]


def test_changed_labels_leave_the_audio_table_as_it_is(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    before = run()["audio"]
    table = birdclef / "train.csv"
    table.write_text(table.read_text().replace("\nwren,", "\nowl,").replace("ann", "bob"))
    after = run()
    pd.testing.assert_frame_equal(after["audio"], before)
    assert list(after["labels"]["label"]) == ["1234", "owl", "robin"]


def test_labels_are_counted_and_named(run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path) -> None:
    (birdclef / "taxonomy.csv").write_text("primary_label,common_name\nwren,Wren\nowl,Owl\n")
    table = run()["labels"]
    assert list(table["label"]) == ["1234", "robin", "wren"]
    assert list(table["index"]) == ["0", "1", "2"]
    assert list(table["common_name"]) == ["", "", "Wren"]
    assert list(table["recordings"]) == ["1", "2", "2"]


def test_soundscapes_and_their_truth_are_listed(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    tables = run()
    assert tables["soundscapes"][["path", "duration_s", "soundscape"]].to_numpy().tolist() == [
        ["chorus/test_soundscapes/dawn.ogg", "10.0", "dawn"]
    ]
    assert tables["soundscape_truth"].to_numpy().tolist() == [["dawn_5", ""], ["dawn_10", "wren robin"]]
    assert report()["soundscapes"]["truth_rows_without_soundscape"] == 0


def test_without_soundscapes_their_tables_are_empty(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    tables = run(soundscapes=None, soundscape_truth=None)
    assert tables["soundscapes"].empty
    assert tables["soundscape_truth"].empty


def test_windows_that_teach_are_listed_and_their_labels_are_classes(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path, write_clip: WriteClip
) -> None:
    for name in ("BC2026_Train_0001_S08_20250606_030007", "BC2026_Train_0002_S09_20250606_030007"):
        write_clip(birdclef / f"train_soundscapes/{name}.ogg", seconds=10.0)
    (birdclef / "train_soundscapes/BC2026_Train_0003_S09_20250607_030007.ogg").write_bytes(b"")
    rows = [
        "0001_S08_20250606_030007.ogg,00:00:00,00:00:05,robin;owl",
        "0001_S08_20250606_030007.ogg,00:00:00,00:00:05,owl",
        "0002_S09_20250606_030007.ogg,00:00:05,00:00:10,",
        "0002_S09_20250606_030007.ogg,00:00:10,00:00:15,rail",
        "0003_S09_20250607_030007.ogg,00:00:00,00:00:05,rail",
        "0004_S09_20250607_030007.ogg,00:00:00,00:00:05,rail",
    ]
    table = "filename,start,end,primary_label\n" + "".join(f"BC2026_Train_{row}\n" for row in rows)
    (birdclef / "windows.csv").write_text(table)
    tables = run(soundscapes=["test_soundscapes", "train_soundscapes"], soundscape_labels="windows.csv")
    assert tables["windows"].to_numpy().tolist() == [
        ["BC2026_Train_0001_S08_20250606_030007", "0.0", "5.0", "robin owl"],
        ["BC2026_Train_0002_S09_20250606_030007", "5.0", "10.0", ""],
    ]
    labels = tables["labels"].set_index("label")["recordings"]
    assert labels.to_dict() == {"1234": "1", "owl": "0", "robin": "2", "wren": "2"}
    assert tables["recordings"].set_index("recording")["secondary"]["robin/XC0.ogg"] == "wren owl"
    assert tables["soundscapes"][["soundscape", "site", "date", "time"]].to_numpy().tolist() == [
        ["BC2026_Train_0001_S08_20250606_030007", "S08", "2025-06-06", "03:00:07"],
        ["BC2026_Train_0002_S09_20250606_030007", "S09", "2025-06-06", "03:00:07"],
        ["dawn", "", "", ""],
    ]
    assert report()["soundscapes"]["sites"] == 2
    told = "\n".join(report()["warnings"])
    assert "1 of 5 windows of chorus/windows.csv are not of a soundscape, first" in told
    assert (
        "1 of 5 labelled windows are of refused soundscapes and are left out, first of BC2026_Train_0003_S09_" in told
    )
    assert (
        "1 of 5 labelled windows end behind their soundscapes and are left out, first of BC2026_Train_0002_S09_" in told
    )
    assert "1 of 4 labels have no recording and are learnt from windows of soundscapes alone, first owl" in told


def test_a_soundscape_that_teaches_cannot_judge(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path, write_clip: WriteClip
) -> None:
    (birdclef / "windows.csv").write_text("filename,start,end,primary_label\ndawn.ogg,0,5,robin\n")
    with pytest.raises(
        PipelineError, match=r"1 soundscape is in data.soundscape_labels and in data.soundscape_truth, first dawn"
    ):
        run(soundscape_labels="windows.csv")
    (birdclef / "train_soundscapes").mkdir()
    shutil.copy(birdclef / "test_soundscapes/dawn.ogg", birdclef / "train_soundscapes/dusk.ogg")
    (birdclef / "windows.csv").write_text("filename,start,end,primary_label\ndusk.ogg,0,5,robin\n")
    with pytest.raises(PipelineError, match=r"first dusk \(there dawn, the same sound\): what teaches cannot judge"):
        run(soundscapes=["test_soundscapes", "train_soundscapes"], soundscape_labels="windows.csv")


def test_a_table_of_windows_that_matches_no_soundscape_is_refused(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    (birdclef / "windows.csv").write_text("filename,start,end,primary_label\nnoon.ogg,0,5,robin\n")
    with pytest.raises(
        PipelineError, match=r"none of 1 windows .* is of a soundscape, first 'noon_5'.*soundscape_labels"
    ):
        run(soundscape_labels="windows.csv")


def test_submission_asks_for_the_sample_s_labels_in_its_order(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    assert list(run()["submission_labels"]["label"]) == ["1234", "robin", "wren"]
    (birdclef / "sample_submission.csv").write_text("row_id,wren,owl,robin\n")
    assert list(run()["submission_labels"]["label"]) == ["wren", "owl", "robin"]
    assert report()["never_heard"] == ["owl"]


def test_unusable_files_are_named_with_reasons_and_cost_no_other(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path, write_clip: WriteClip
) -> None:
    audio = birdclef / "train_audio"
    (audio / "robin/XC0.ogg").unlink()
    (audio / "robin/XC1.ogg").write_bytes(b"")
    (audio / "wren/XC2.ogg").write_bytes(b"<html>not found</html>" * 9)
    write_clip(audio / "wren/XC3.ogg", seconds=0.1)
    tables = run(longest_s=9.0)
    assert list(tables["recordings"]["recording"]) == ["1234/XC4.ogg"]
    assert tables["soundscapes"].empty
    table = refused()
    assert {Path(str(path)).name: code for path, code in table["code"].items()} == {
        "XC0.ogg": "unreadable",
        "XC1.ogg": "empty",
        "XC2.ogg": "not-audio",
        "XC3.ogg": "too-short",
        "dawn.ogg": "too-long",
    }
    missing, short = (table.loc[f"chorus/train_audio/{name}.ogg"] for name in ("robin/XC0", "wren/XC3"))
    assert missing["detail"] == "cannot be read (No such file or directory)"
    assert missing["hint"].startswith("restore the file")
    assert short["detail"] == "lasts 0.1 s, less than data.shortest_s (0.5 s)"
    assert short["hint"] == "lower data.shortest_s in params.yaml or remove it"
    assert report()["refused"] == {"empty": 1, "not-audio": 1, "too-short": 1, "unreadable": 1}
    assert report()["soundscapes"]["refused"] == {"too-long": 1}


def test_labels_and_annotated_times_that_are_lost_with_refused_files_are_told(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    Path("annotations/t.csv").write_text("file,start_s,end_s,label\nXC4.ogg,0,1,1234\nXC0.ogg,0,1,robin\n")
    (birdclef / "train_audio/1234/XC4.ogg").write_bytes(b"")
    run()
    assert report()["warnings"][1:] == [
        "1 label has no usable recording and no class, first 1234; see reports/data/refused.csv",
        "1 of 2 annotated times are in refused recordings, first 1234/XC4.ogg; see reports/data/refused.csv",
    ]


def test_truncated_ogg_is_refused(run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path) -> None:
    clip = birdclef / "train_audio/wren/XC3.ogg"
    clip.write_bytes(clip.read_bytes()[:-200])
    assert "wren/XC3.ogg" not in set(run()["recordings"]["recording"])
    assert list(refused()["code"]) == ["truncated"]


@pytest.mark.parametrize("no_end", ["accept", "refuse"])
def test_ogg_that_does_not_say_where_it_ends_is_accepted_or_refused(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path, no_end: str
) -> None:
    for seconds, clip in ((1.5, "train_audio/wren/XC3.ogg"), (3, "test_soundscapes/dawn.ogg")):
        (birdclef / clip).write_bytes(without_page(sound(seconds, 32_000, 1, "VORBIS"), -1))
    tables = run(no_end=no_end)
    used = no_end == "accept"
    assert ("wren/XC3.ogg" in set(tables["recordings"]["recording"])) == used
    assert len(tables["soundscapes"]) == used
    assert list(refused()["code"]) == ([] if used else ["no-end"] * 2)
    assert report()["no_end"] == (["wren/XC3.ogg"] if used else [])
    assert report()["soundscapes"]["no_end"] == (["dawn"] if used else [])
    assert used or "data.no_end: accept" in refused()["hint"].iloc[0]


def test_too_many_refused_files_fail_the_stage_after_all_is_written(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    for name in ("robin/XC0", "wren/XC2"):
        (birdclef / f"train_audio/{name}.ogg").write_bytes(b"")
    run(max_refused_share=0.34)
    written = {path: path.read_bytes() for path in [*Path("data/tables").iterdir(), *Path("reports/data").iterdir()]}
    for path in written:
        path.unlink()
    message = r"data\.max_refused_share = 0\.3: 2 of 6 files \(33\.3%\) .*empty 2.*data/refused\.csv; the others are"
    with pytest.raises(PipelineError, match=message):
        run(max_refused_share=0.3)
    assert {path: path.read_bytes() for path in written} == written


def test_files_too_short_or_too_long_do_not_count_as_bad(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    run(shortest_s=1.9, longest_s=5.0, max_refused_share=0.0)
    assert sorted(refused()["code"]) == ["too-long", *["too-short"] * 4]


def test_refused_files_are_listed_even_if_none_is_usable(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    for clip in birdclef.rglob("*.ogg"):
        clip.write_bytes(b"")
    with pytest.raises(PipelineError, match="none of 5 recordings is usable"):
        run()
    assert list(refused()["code"]) == ["empty"] * 6


def test_data_set_without_a_usable_recording_is_refused(
    run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path
) -> None:
    with pytest.raises(
        PipelineError, match=r"chorus: none of 5 recordings is usable; the first: .*1234/XC4\.ogg: lasts"
    ):
        run(shortest_s=30.0, longest_s=40.0)


def test_report_repeats_byte_for_byte(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    outputs = [
        Path("reports/data/summary.json"),
        Path("reports/data/refused.csv"),
        *(Path(f"data/tables/{name}.csv") for name in TABLES),
    ]
    run()
    before = [path.read_bytes() for path in outputs]
    run()
    assert [path.read_bytes() for path in outputs] == before


@pytest.mark.usefixtures("fresh_workers")
def test_scan_is_the_same_for_one_and_two_workers(birdclef: Path, data_params: MakeParams) -> None:
    paths = [path.as_posix() for path in sorted(birdclef.rglob("*.ogg"))] * 20
    machine = params.load(ROOT / "params.yaml").machine
    one, two = (
        scan_files(paths, data_params(), machine.model_copy(update={"workers": workers}), "clips") for workers in (1, 2)
    )
    pd.testing.assert_frame_equal(one, two)


def test_scan_never_raises(tmp_path: Path, data_params: MakeParams) -> None:
    scan = scan_file(tmp_path, data_params())
    assert (scan.code, scan.detail) == ("unreadable", "is a folder, not a file")


def test_stage_reports_a_usage_problem_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise PipelineError("train.csv: is missing; restore it")

    with pytest.raises(SystemExit) as ended:
        run_stage(main)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: train.csv: is missing; restore it\n"


def test_every_file_in_folders_is_used_or_listed_or_no_sound(
    run: Callable[..., dict[str, pd.DataFrame]],
    birdclef: Path,
    write_clip: WriteClip,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(birdclef / "train_audio")
    for number, name in enumerate(["wren/a.ogg", "wren/x/b.wav", "Bewick's Wren/c.flac", "robin/d.ogg"]):
        write_clip(birdclef / name, tone_hz=500 + 100 * number)
    for rest in [b"wren/e.m4a", b"loose.ogg", b"wren/g\xfc.ogg", b"wren/._a.ogg", b"wren/notes.txt", b"wren/f\\g.ogg"]:
        (birdclef / os.fsdecode(rest)).touch()
    (birdclef / "wren/bad.ogg").write_bytes(b"no sound")
    tables = run(layout="folders", soundscape_truth=None, max_refused_share=0.4)
    used, files = len(tables["recordings"]) + len(tables["soundscapes"]), report()["files"]
    assert files == {"found": 13, "left_out": 4, "no_sound": 3}
    assert files["found"] == used + len(refused()) + files["no_sound"]
    assert refused()["code"].value_counts().to_dict() == {"not-used": 2, "unreadable": 2, "not-audio": 1}
    assert r"chorus/wren/g\udcfc.ogg" in refused().index
    names = tables["labels"].set_index("label")["common_name"].to_dict()
    assert names == {"Bewicks_Wren": "Bewick's Wren", "robin": "", "wren": ""}
    told = capsys.readouterr().out
    assert "WARNING: 1 file is not used, first chorus/wren/e.m4a: must be converted first; find chorus " in told
    assert "WARNING: 1 file is not used, first chorus/loose.ogg: lies beside the folders of the classes" in told
    with pytest.raises(PipelineError, match=r"3 of 8 files \(37.5%\) were refused \(not-audio 1, unreadable 2\)"):
        run(layout="folders", soundscape_truth=None, max_refused_share=0.3)


def test_a_single_label_is_warned_of(run: Callable[..., dict[str, pd.DataFrame]], birdclef: Path) -> None:
    table = pd.read_csv(birdclef / "train.csv", dtype=str)
    table[table["primary_label"] == "wren"].assign(secondary_labels="[]").to_csv(birdclef / "train.csv", index=False)
    run()
    assert any(
        warning.startswith("all recordings have one label, wren, and there is nothing to tell it from: add recordings")
        for warning in report()["warnings"]
    )
