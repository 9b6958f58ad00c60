"""Scans of files that are odd: what `data.no_end` accepts decodes, what is noted is listed, a bug costs one file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from birdcache.audio.decoder import Decoder
from birdcache.audio.notes import NOTES, Note, notes_text
from birdcache.params.sections import DataParams
from cache import report_tables
from pipeline import recordings as stage
from pipeline.dataset import scan
from pipeline.dataset.scan import scan_file
from tests.fixtures.mpeg import ID3V1, mp3, noisy, split_table, with_total, written
from tests.fixtures.tiny import ROOT
from tests.torture.ogg_files import without_page

MakeParams = Callable[..., DataParams]
RATE_HZ, SECONDS = 32_000, 2
SOUND_SC = noisy(SECONDS, RATE_HZ)
FLAC, WAV = written(SOUND_SC, RATE_HZ, "FLAC"), written(SOUND_SC, RATE_HZ, "WAV")
WITHOUT_END = {
    "flac": with_total(FLAC, 0),
    "wav": WAV[:40] + struct.pack("<I", 0xFFFFFFFF) + WAV[44:],
    "ogg": without_page(written(SOUND_SC, RATE_HZ, "OGG"), -1),
    "mp3": split_table(mp3(SECONDS, RATE_HZ))[1][:-9],
}


@pytest.mark.parametrize("name", WITHOUT_END)
def test_file_without_an_end_is_refused_or_decodes_as_long_as_its_table_says(
    tmp_path: Path, data_params: MakeParams, name: str
) -> None:
    path = tmp_path / f"clip.{name}"
    path.write_bytes(WITHOUT_END[name])
    refused = scan_file(path, data_params())
    assert (refused.code, "data.no_end: accept" in refused.hint) == ("no-end", True)
    found = scan_file(path, data_params(no_end="accept"))
    assert (found.code, found.no_end) == ("", True)
    assert SECONDS - 1 < found.duration_s < SECONDS + 0.1
    samples_S = np.concatenate(list(Decoder().waveform(path, RATE_HZ, found.duration_s)))
    assert len(samples_S) == round(found.duration_s * RATE_HZ)


def test_files_that_are_odd_are_used_listed_and_counted(
    birdclef: Path, data_params: MakeParams, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    settings["data"], settings["machine"]["workers"] = data_params().model_dump(), 1
    with Path("params.yaml").open("w") as file:
        YAML(typ="safe").dump(settings, file)
    odd = {"robin/XC0.ogg": FLAC + ID3V1, "wren/XC2.ogg": bytes(9) + FLAC, "wren/XC3.ogg": with_total(FLAC, 5)}
    for name, content in odd.items():
        (birdclef / "train_audio" / name).write_bytes(content)
    stage.main()
    table = pd.read_csv("reports/data/notes.csv")
    assert table.to_numpy().tolist() == [
        ["chorus/train_audio/robin/XC0.ogg", "bytes-around", "128 bytes behind its sound"],
        ["chorus/train_audio/wren/XC2.ogg", "bytes-around", "9 bytes before its sound"],
        ["chorus/train_audio/wren/XC3.ogg", "wrong-length", "its header says 5 samples, and 64000 are there"],
    ]
    told = json.loads(Path("reports/data/summary.json").read_text())
    assert told["notes"] == {"bytes-around": 2, "wrong-length": 1}
    assert told["recordings"]["usable"] == 5
    assert (
        "notes: bytes-around 2, wrong-length 1, first chorus/train_audio/robin/XC0.ogg: 128 bytes behind its sound; "
        "listed in reports/data/notes.csv"
    ) in capsys.readouterr().out


def test_notes_are_written_once_each_sorted_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notes = [("b", Note("joined", "x")), ("a", Note("joined", "y")), ("b", Note("joined", "x"))]
    stage.write_notes(notes)
    assert report_tables.NOTES.path.read_text() == "file,note,detail\na,joined,y\nb,joined,x\n"
    assert notes_text(notes[:2]) == "notes: joined 2, first a: y"


def test_each_note_is_explained_in_the_documentation() -> None:
    page = (ROOT / "docs/trust.md").read_text()
    assert [code for code in NOTES if f"`{code}`" not in page] == []


def test_a_bug_over_one_file_costs_that_file(
    tmp_path: Path, data_params: MakeParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> str:
        raise OverflowError("timestamp out of range")

    monkeypatch.setattr(scan, "content_sha256", fail)
    (tmp_path / "clip.flac").write_bytes(FLAC)
    found = scan_file(tmp_path / "clip.flac", data_params())
    assert found.code == "unexpected"
    assert found.detail.startswith("makes birdcache fail (OverflowError: timestamp out of range; test_scan.py, line ")
