"""A finished tiny project, made once: its stages run in this process, with their reads of params recorded."""

from __future__ import annotations

import os

# models this small only lose by sharing their work out, most of all on a busy machine; read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from birdcache.params import load as params
from tests import tiny
from tests.browser import Browser, opened
from tests.recorded import RecordedParams

pytest_plugins = ["tests.fixtures.recordings", "tests.fixtures.bundle"]

STAGES = {
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


SLOW_FIXTURES = {"browser", "documented"}  # tests that ask for one of them are `slow`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow that need a slow fixture."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class TinyProject:
    """Where the project lies, and which keys of params.yaml each stage read."""

    root: Path
    reads: dict[str, set[str]]


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """All stages, run on tiny data. Tests must not change it; copy it first."""
    root = tmp_path_factory.mktemp("tiny")
    tiny.write_data(root / "chorus")
    tiny.write_params(root / "params.yaml", tiny.tiny_params("chorus"))
    reads = {}
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        os.chdir(root)
        loaded = params.load()
        for stage, (module, arguments) in STAGES.items():
            recorded = RecordedParams(loaded)
            patch.setattr(params, "load", lambda recorded=recorded: recorded)
            patch.setattr(sys, "argv", [module, *arguments])
            importlib.import_module(module).main()
            reads[stage] = recorded.reads
        os.chdir(before)
    return TinyProject(root, reads)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser; tests that need it are skipped where there is none."""
    with opened(tmp_path_factory.mktemp("browser")) as started:
        yield started
