"""Several sources: their recordings, labels and ratings, what two of them hold, and what cannot be meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from birdcache.errors import PipelineError
from birdcache.params import load as parameters
from birdcache.params.sections import DataParams
from commands.plan.audio import expected_audio
from commands.project.hashable import check_hashable, data_folders
from pipeline import recordings as stage
from pipeline import spectrograms
from pipeline.dataset.metadata import Metadata, read_metadata
from tests.fixtures.tiny import ROOT

WriteClip = Callable[..., Path]
Read = Callable[..., Metadata]
XC = {"layout": "birdclef", "root": "xc"}
NOISE = {"layout": "files", "root": "noise", "label": "nocall", "validated": False}


@pytest.fixture(autouse=True)
def folders(birdclef: Path, write_clip: WriteClip) -> Path:
    """Beside chorus/: xc/ in BirdCLEF's layout with labels of its own, zoo/ of folders, noise/ of files."""
    rows = ["primary_label,secondary_labels,author,rating,filename,scientific_name"]
    for number, (label, rating) in enumerate([("erirub", 5), ("erirub", 2), ("trotro", 0), ("owl", 1), ("crow", 4)]):
        write_clip(Path(f"xc/train_audio/{label}/{number}.ogg"), seconds=2 + number / 4, tone_hz=1500 + 100 * number)
        rows.append(f"{label},\"['trotro', 'crow']\",bea,{rating},{label}/{number}.ogg,Genus {label}")
    Path("xc/train.csv").write_text("\n".join(rows) + "\n")
    for number, folder in enumerate(["robin", "Bewick's Wren"]):
        write_clip(Path("zoo") / folder / "a.ogg", seconds=4 + number / 4, tone_hz=2500)
    write_clip(Path("noise/deep/rain.ogg"), seconds=5)
    write_clip(Path("noise/wind.wav"), seconds=5.25)
    return Path()


@pytest.fixture
def read(data_params: Callable[..., DataParams]) -> Read:
    """A function that reads the metadata with these sources."""
    return lambda **sources: read_metadata(data_params(sources=sources))


def of(metadata: Metadata, source: str) -> pd.DataFrame:
    table = metadata.recordings
    return table[table["source"] == source].set_index("recording")


def test_recordings_of_a_source_are_called_by_its_name_and_those_of_the_root_as_before(read: Read) -> None:
    alone, both = read(), read(xc=XC, noise=NOISE)
    assert list(of(both, "").index) == list(alone.recordings["recording"])
    assert list(of(both, "xc").index) == [f"xc/{name}" for name in (
        "crow/4.ogg", "erirub/0.ogg", "erirub/1.ogg", "owl/3.ogg", "trotro/2.ogg"
    )]  # fmt: skip
    assert of(both, "xc").loc["xc/owl/3.ogg", "path"] == "xc/train_audio/owl/3.ogg"
    assert both.recordings["recording"].is_monotonic_increasing


def test_every_file_of_a_folder_may_have_one_label(read: Read) -> None:
    table = of(read(noise=NOISE), "noise")
    assert table["label"].to_dict() == {"noise/deep/rain.ogg": "nocall", "noise/wind.wav": "nocall"}
    folders = {"layout": "folders", "root": "zoo", "label": "nocall"}
    assert set(of(read(zoo=folders), "zoo")["label"]) == {"nocall"}


def test_labels_are_called_as_here_and_those_called_null_are_left_out(read: Read) -> None:
    labels = {"erirub": "robin", "trotro": "wren", "owl": None}
    metadata = read(xc=XC | {"labels": labels})
    table = of(metadata, "xc")
    assert table["label"].to_dict() == {
        "xc/crow/4.ogg": "crow",
        "xc/erirub/0.ogg": "robin",
        "xc/erirub/1.ogg": "robin",
        "xc/trotro/2.ogg": "wren",
    }
    assert set(table["secondary"]) == {"wren crow"}
    assert "data.sources.xc: 1 recording has a label called null: left out" in metadata.warnings
    assert metadata.taxonomy.loc["robin", "scientific_name"] == "Genus erirub"
    zoo = {"layout": "folders", "root": "zoo", "labels": {"Bewick's Wren": "wren"}}
    assert sorted(of(read(zoo=zoo), "zoo")["label"]) == ["robin", "wren"], "a folder by its name, not by its code"


def test_recordings_rated_lower_are_left_out_and_unrated_ones_stay(read: Read) -> None:
    metadata = read(xc=XC | {"least_rating": 3.0})
    assert list(of(metadata, "xc").index) == ["xc/crow/4.ogg", "xc/erirub/0.ogg", "xc/trotro/2.ogg"]
    assert "data.sources.xc: 2 recordings are rated below least_rating: left out" in metadata.warnings
    assert len(of(read(xc=XC | {"least_rating": 4.0}), "xc")) == 3, "rated 4 is not below 4"


def test_secondary_labels_that_a_source_cannot_tell_are_none(read: Read) -> None:
    knows = ["erirub", "trotro", "owl", "crow"]
    assert set(of(read(xc=XC | {"knows": knows}), "xc")["secondary"]) == {"trotro crow"}
    labels = {"crow": None}
    table = of(read(xc=XC | {"knows": knows[:3], "labels": labels}), "xc")
    assert set(table["secondary"]) == {"trotro"}


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"xc": XC | {"root": "nowhere"}}, r"nowhere: no such folder; correct data\.sources\.xc\.root"),
        ({"xc": XC | {"root": "zoo"}}, r"zoo/train_audio: no such folder|zoo/train\.csv: no such file"),
        ({"zoo": {"layout": "folders", "root": "void"}}, r"data\.sources\.zoo: none of 0 recordings in void is left"),
        ({"xc": XC | {"labels": dict.fromkeys(["erirub", "trotro", "owl", "crow"])}}, r"none of 5 recordings in xc"),
        ({"xc": XC | {"labels": {"robin": "wren"}}}, r"none of 1 labels of data\.sources\.xc\.labels .* 'robin'"),
        ({"xc": XC | {"knows": ["erirub", "owl"]}}, r"data\.sources\.xc\.knows lacks 'crow', 'trotro'"),
        ({"xc": XC, "two": XC}, r"data\.sources\.xc\.root \(xc\) and data\.sources\.two\.root \(xc\) hold the same"),
        ({"xc": XC, "two": XC | {"root": "link"}}, r"\(xc\) and .*\(link\) hold the same files"),
        ({"xc": {"layout": "folders", "root": "chorus/train_audio"}}, r"data\.root \(chorus\) and .* hold the same"),
        ({"xc": {"layout": "folders", "root": "."}}, r"data\.root \(chorus\) and .* hold the same files"),
        ({"robin": NOISE}, r"data\.sources\.robin: robin/XC0\.ogg of data\.root is called so; rename it"),
    ],
)
def test_what_cannot_be_meant_is_refused(read: Read, sources: dict[str, Any], message: str) -> None:
    Path("void").mkdir()
    Path("link").symlink_to("xc")
    with pytest.raises(PipelineError, match=message):
        read(**sources)


def test_roots_that_begin_alike_lie_apart(read: Read) -> None:
    shutil.copytree("noise", "xc-noise")
    assert len(of(read(xc=XC, noise=NOISE | {"root": "xc-noise"}), "noise")) == 2


def test_links_out_of_a_source_are_left_out(read: Read) -> None:
    Path("noise/out.ogg").symlink_to(Path("zoo/robin/a.ogg").resolve())
    metadata = read(noise=NOISE)
    assert len(of(metadata, "noise")) == 2
    assert [each.file for each in metadata.left_out] == ["noise/out.ogg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"layout": "files", "root": "x"}, "label"),
        ({"layout": "files", "root": "x", "label": "a", "labels": {"b": "c"}}, "makes labels .* needless"),
        ({"layout": "annotations", "root": "x"}, "layout"),
        (XC | {"labels": {"a": "../b"}}, "a label is made of"),
        (XC | {"least_rating": 6.0}, "least_rating"),
        (XC | {"weight": 0.0}, "weight"),
        (XC | {"knows": []}, "knows"),
        (XC | {"knows": ["a", "a"]}, "twice"),
        (XC | {"soundscapes": "x"}, "soundscapes"),
    ],
)
def test_params_refuse_sources_that_break_a_rule(source: dict[str, Any], message: str) -> None:
    raw = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    raw["data"]["sources"] = {"xc": source}
    with Path("params.yaml").open("w") as file:
        YAML(typ="safe").dump(raw, file)
    with pytest.raises(parameters.ParamsError, match=message) as caught:
        parameters.load()
    assert "data.sources.xc" in str(caught.value)


# stage `recordings`


@pytest.fixture
def run(data_params: Callable[..., DataParams]) -> Callable[..., dict[str, pd.DataFrame]]:
    """A function that runs the stage with these sources, and returns tables."""

    def run_stage_on(**sources: object) -> dict[str, pd.DataFrame]:
        settings = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        settings["data"] = data_params(sources=sources).model_dump()
        settings["machine"]["workers"] = 1
        Path("params.yaml").write_text(json.dumps(settings))  # which is YAML, in the order of the sources
        stage.main()
        names = ("recordings", "audio", "labels", "sources")
        return {name: pd.read_csv(f"data/tables/{name}.csv", dtype=str, keep_default_na=False) for name in names}

    return run_stage_on


def test_a_sound_that_two_sources_hold_is_used_once_in_their_order(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    shutil.copy("chorus/train_audio/robin/XC1.ogg", "xc/train_audio/owl/3.ogg")
    shutil.copy("xc/train_audio/crow/4.ogg", "noise/again.ogg")
    shutil.copy("noise/wind.wav", "noise/wind again.wav")  # within one source, as in data.root: both stay
    tables = run(xc=XC, noise=NOISE)
    names = list(tables["recordings"]["recording"])
    assert {"robin/XC1.ogg", "xc/crow/4.ogg", "noise/wind.wav", "noise/wind again.wav"} < {*names}
    assert not {"xc/owl/3.ogg", "noise/again.ogg"} & {*names}
    refused = pd.read_csv("reports/data/refused.csv").set_index("file")
    assert refused["code"].to_dict() == {"noise/again.ogg": "not-used", "xc/train_audio/owl/3.ogg": "not-used"}
    assert refused["detail"].to_dict() == {
        "noise/again.ogg": "holds the sound of xc/crow/4.ogg",
        "xc/train_audio/owl/3.ogg": "holds the sound of robin/XC1.ogg",
    }
    told = json.loads(Path("reports/data/summary.json").read_text())["warnings"]
    assert [text for text in told if "used once" in text] == [
        "data.sources.noise: 1 recording is in data.root or an earlier source too, and used once, first "
        "noise/again.ogg; see reports/data/refused.csv",
        "data.sources.xc: 1 recording is in data.root or an earlier source too, and used once, first "
        "xc/owl/3.ogg; see reports/data/refused.csv",
    ]
    swapped = run(noise=NOISE, xc=XC)["recordings"]["recording"]
    assert "noise/again.ogg" in set(swapped)
    assert "xc/crow/4.ogg" not in set(swapped)


def test_the_same_sound_in_another_container_is_used_once(
    run: Callable[..., dict[str, pd.DataFrame]], write_clip: WriteClip
) -> None:
    write_clip(Path("zoo/robin/a.flac"), seconds=3.5)
    import soundfile

    wave, rate = soundfile.read("zoo/robin/a.flac", dtype="int16")
    soundfile.write("noise/b.wav", wave, rate, subtype="PCM_16")
    names = run(zoo={"layout": "folders", "root": "zoo"}, noise=NOISE)["recordings"]["recording"]
    assert "zoo/robin/a.flac" in set(names)
    assert "noise/b.wav" not in set(names)


def test_the_table_of_sources_says_weight_knowledge_and_use(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    xc = XC | {
        "labels": {"erirub": "robin", "trotro": "wren"},
        "knows": ["wren", "robin", "owl", "crow"],
        "weight": 0.5,
    }
    tables = run(xc=xc, noise=NOISE)
    assert tables["sources"].to_dict("records") == [
        {"source": "xc", "weight": "0.5", "knows": "crow;owl;robin;wren", "validated": "1"},
        {"source": "noise", "weight": "1.0", "knows": "", "validated": "0"},
    ]
    assert list(tables["labels"]["label"]) == ["1234", "crow", "nocall", "owl", "robin", "wren"]
    source = tables["recordings"].set_index("recording")["source"]
    assert (source["xc/owl/3.ogg"], source["noise/wind.wav"], source["robin/XC0.ogg"]) == ("xc", "noise", "")


def test_a_label_that_a_source_knows_and_nothing_teaches_is_told(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    run(noise=NOISE | {"knows": ["nocall", "gull"]})
    told = json.loads(Path("reports/data/summary.json").read_text())["warnings"]
    (text,) = [text for text in told if "knows" in text]
    assert text.startswith("1 of 2 labels of data.sources.noise.knows are not labels of a recording, first 'gull'")


def test_without_sources_their_table_has_no_row(run: Callable[..., dict[str, pd.DataFrame]]) -> None:
    assert run()["sources"].empty


def test_a_changed_source_decodes_only_what_is_new(
    run: Callable[..., dict[str, pd.DataFrame]],
    write_clip: WriteClip,
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["spectrograms", "mel"])
    run(noise=NOISE)
    spectrograms.main()
    assert len(decoded) == 5 + 2 + 1
    decoded.clear()
    write_clip(Path("noise/new.ogg"), seconds=5.5)
    run(noise=NOISE)
    spectrograms.main()
    assert [Path(path).relative_to(Path.cwd()) for path in decoded] == [Path("noise/new.ogg")]


# what else reads the roots


def test_check_and_plan_look_into_sources_too(read: Read, data_params: Callable[..., DataParams]) -> None:
    data = data_params(sources={"noise": NOISE})
    assert Path("noise") in data_folders(data)
    Path("noise/gone.ogg").symlink_to("nowhere")
    with pytest.raises(Exception, match=r"noise/gone\.ogg: is a link to nowhere"):
        check_hashable(*data_folders(data))
    Path("noise/gone.ogg").unlink()
    assert len(expected_audio(data, read_metadata(data))["recordings"].sources) == 5 + 2
