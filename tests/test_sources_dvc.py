"""Sources under DVC: a changed one runs what reads it and decodes what is new; a file without sources still runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code, dvc, start_git

pytestmark = pytest.mark.slow
STAGES = ("folds", "spectrograms@mel")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose params.yaml is of before there were sources, as far as its folds."""
    root = tmp_path_factory.mktemp("sources")
    copy_of_the_code(root)
    start_git(root)
    tiny.write_data(root / "chorus")
    for number in range(2):
        tiny.write_audio(root / f"noise/{number}.ogg", tiny.song(100, 2 + number, np.random.default_rng(number)))
    raw = tiny.tiny_params("chorus")
    del raw["data"]["sources"]
    tiny.write_params(root / "params.yaml", raw)
    dvc(root, "repro", *STAGES)
    return root


def test_an_added_and_a_changed_source_run_what_reads_them_and_decode_only_what_is_new(project: Path) -> None:
    before = pd.read_csv(project / "data/tables/recordings.csv")
    assert len(before) == 18
    raw = tiny.tiny_params("chorus")
    noise = {"layout": "files", "root": "noise", "label": "nocall", "validated": False, "knows": ["nocall"]}
    raw["data"]["sources"] = {"noise": noise}
    tiny.write_params(project / "params.yaml", raw)
    told = dvc(project, "repro", *STAGES)
    assert "Running stage 'source@noise'" in told
    assert "0.00 h of audio to decode" in told
    folds = pd.read_csv(project / "data/folds.csv").set_index("recording")["fold"]
    assert folds[["noise/0.ogg", "noise/1.ogg"]].tolist() == [-1, -1]
    assert (folds.drop(["noise/0.ogg", "noise/1.ogg"]) >= 0).all()
    assert dvc(project, "status", "source@noise", "recordings").strip() == "Data and pipelines are up to date."

    tiny.write_audio(project / "noise/deep/new.ogg", tiny.song(200, 2.5, np.random.default_rng(7)))
    told = dvc(project, "repro", *STAGES)
    ran = [line.split("'")[1] for line in told.splitlines() if line.startswith("Running stage")]
    assert ran == ["source@noise", "recordings", "spectrograms@mel", "folds"] or set(ran) == {
        "source@noise", "recordings", "folds", "spectrograms@mel"
    }  # fmt: skip
    (decoded,) = [line for line in told.splitlines() if line.startswith("spectrograms@mel:") and "decode" in line]
    assert decoded.startswith("spectrograms@mel: 1 parts to write")
    assert len(pd.read_csv(project / "data/tables/recordings.csv")) == 21

    assert "Running" not in dvc(project, "repro", *STAGES)
