"""A finished tiny project, made once: its stages run in this process, with what they read recorded."""

from __future__ import annotations

import os

# models this small only lose by sharing their work out, most of all on a busy machine; read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fixtures import tiny
from tests.fixtures.opened_files import recorded_opens
from tests.fixtures.shared import made_once
from tests.fixtures.stages import run_stage

if TYPE_CHECKING:
    from tests.fixtures.browser import Browser

pytest_plugins = ["tests.fixtures.recordings", "tests.fixtures.bundle"]

STAGES = {
    "check": ("commands.project.check", []),
    "recordings": ("pipeline.recordings", []),
    "spectrograms@mel": ("pipeline.spectrograms", ["mel"]),
    "spectrograms@pcen": ("pipeline.spectrograms", ["pcen"]),
    "folds": ("pipeline.folds", []),
    "member@base": ("train.members", ["base"]),
    "member@pcen": ("train.members", ["pcen"]),
    "train@base-0": ("train.fit", ["base-0"]),
    "train@base-1": ("train.fit", ["base-1"]),
    "train@pcen-0": ("train.fit", ["pcen-0"]),
    "train@pcen-1": ("train.fit", ["pcen-1"]),
    "predict": ("train.predict", []),
    "submit": ("train.submit", []),
    "evaluate": ("train.evaluate", []),
    "report": ("commands.report.build", []),
}


SLOW_FIXTURES = {"browser", "documented", "served"}  # tests that ask for one of them are `slow`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow that need a slow fixture; skip those that need a GPU where there is none."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not is_there_a_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU can be used here"))


def is_there_a_gpu() -> bool:
    """Whether torch, which is imported only for that, can use a GPU."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a driver is too old
        return torch.cuda.is_available()


@dataclass(frozen=True)
class TinyProject:
    """Where the project lies, which keys of params.yaml each stage read, and which files and folders it opened."""

    root: Path
    reads: dict[str, set[str]]
    opened: dict[str, set[str]]


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """All stages, run on tiny data. Tests must not change it; copy it first."""
    root = made_once(tmp_path_factory, "tiny", run_all_stages)
    recorded = json.loads((root / "recorded.json").read_text())
    reads, opened = ({stage: set(found) for stage, found in each.items()} for each in recorded)
    return TinyProject(root, reads, opened)


def run_all_stages(root: Path) -> None:
    """Make the tiny project, and a file of what each stage read."""
    reads, opened = {}, {}
    tiny.write_data(root / "chorus")
    tiny.write_params(root / "params.yaml", tiny.tiny_params("chorus"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage, (module, arguments) in STAGES.items():
            with recorded_opens(root) as opened[stage]:
                reads[stage] = run_stage(module, *arguments)
    (root / "recorded.json").write_text(json.dumps([reads, opened], default=sorted))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser; tests that need it are skipped where there is none."""
    from tests.fixtures.browser import opened  # here, since a machine with a GPU has no selenium

    with opened(tmp_path_factory.mktemp("browser")) as started:
        yield started
