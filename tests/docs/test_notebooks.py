"""The notebooks of docs/notebooks work as they are, and hold nothing that running them leaves behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def cells(notebook: Path, kind: str) -> Iterator[dict[str, Any]]:
    yield from (cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind)


@pytest.fixture
def project(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tiny project with its bundle and the demo's paths, as the checkout that notebooks go to."""
    root = tmp_path / "project"
    shutil.copytree(exported.root, root, symlinks=True)
    (root / "data/demo").mkdir()
    shutil.copytree(root / "chorus", root / "data/demo/dawn")
    (root / "data/demo/dawn/test_soundscapes/text.ogg").write_text("no sound")
    monkeypatch.setattr("birdcache.checkout.ROOT", root)
    mpl.use("Agg")
    before = Path.cwd()
    yield root
    os.chdir(before)
    plt.close("all")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs_and_no_more_metadata_than_it_needs(notebook: Path) -> None:
    content = json.loads(notebook.read_text())
    assert content["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert content["metadata"].keys() == {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for cell in content["cells"])
    assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in cells(notebook, "code"))


def run(notebook: Path) -> dict[str, Any]:
    """Run all cells in order; what they have defined."""
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells(notebook, "code")):
        exec(compile("".join(cell["source"]), f"{notebook.name}, code cell {number}", "exec"), names)
    return names


def test_a_store_is_explored_down_to_the_scores_of_a_fold(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(ROOT / "docs/notebooks/explore.ipynb")
    assert "18 recordings, " in capsys.readouterr().out
    assert sorted(names["recordings"]["row"]) == list(range(18))
    assert names["seen"].shape[0] == len(names["batch"].stored)
    scores, truth = names["scores"], names["truth"]
    assert list(scores.index) == list(truth.index) == sorted(names["dataset"].validated.names)
    labels = names["recordings"].set_index("recording")["label"]
    assert truth.idxmax(axis=1).to_dict() == labels[truth.index].to_dict()
    assert (truth.sum(axis=1) == 1).all()
    with np.load("models/base/0/predictions.npz") as kept:
        assert np.array_equal(scores.loc[kept["recording"]], kept["scores"])


@pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")  # librosa's audioread
def test_recordings_become_detections_and_one_that_cannot_be_read_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run(ROOT / "docs/notebooks/detections.ipynb")
    (refused,) = names["refused"]
    assert refused.startswith("data/demo/dawn/test_soundscapes/text.ogg: is not audio of a known")
    assert set(names["detections"]["file"]) == {"data/demo/dawn/test_soundscapes/dawn.ogg"}
    assert names["found"].scores.shape == (4, 3)
    assert len(names["detections"]) == len(names["found"].detections)
