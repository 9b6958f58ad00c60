"""A train.csv of millions of rows: the memory that each row takes, and files that are missing by the thousand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from birdcache.audio.decoder import Decoder
from birdcache.params.sections import DataParams
from pipeline.dataset.scan import scan_file
from tests.fixtures.tiny import ROOT

MakeParams = Callable[..., DataParams]
MOST_BYTES = 480  # for each row: 2 million then fit into 1 GB
READ = """
import resource, sys
from birdcache.params.sections import DataParams
from pipeline.dataset.metadata import read_metadata
read_metadata(DataParams.model_validate_json(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def write_table(root: Path, rows: int) -> None:
    header = "primary_label,secondary_labels,author,rating,latitude,longitude,date,url,filename"
    with (root / "train.csv").open("w") as file:
        print(header, file=file)
        for row in range(rows):
            place, day = f"{row * 37 % 180_000 / 1000 - 90:.3f},{row * 91 % 360_000 / 1000 - 180:.3f}", row % 28 + 1
            name = f"l{row % 500}/XC{row:07}.ogg"
            print(
                f"l{row % 500},[],A{row % 9000},{row % 11 / 2},{place},2019-05-{day:02},http://x/{row},{name}",
                file=file,
            )


@pytest.mark.slow
def test_rows_take_so_little_memory_that_two_million_fit_into_a_gigabyte(
    birdclef: Path, data_params: MakeParams
) -> None:
    peak = {}
    for rows in (100_000, 300_000):
        write_table(birdclef, rows)
        settings = data_params(soundscapes=None, soundscape_truth=None).model_dump_json()
        command = [sys.executable, "-c", READ, settings]
        done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
        peak[rows] = int(done.stdout)
    assert (peak[300_000] - peak[100_000]) / 200_000 < MOST_BYTES


def test_missing_file_costs_no_decoder(
    tmp_path: Path, data_params: MakeParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "info", lambda *_: pytest.fail("the decoder was asked"))
    scan = scan_file(tmp_path / "none.ogg", data_params())
    assert (scan.code, scan.detail) == ("unreadable", "cannot be read (No such file or directory)")
