"""A tiny project with one soundscape that nobody labelled, at the start of the noisy student and after two rounds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import tiny
from tests.fixtures.stages import run_stage

BEFORE = {
    "recordings": ("pipeline.recordings", []),
    "spectrograms": ("pipeline.spectrograms", ["mel"]),
    "folds": ("pipeline.folds", []),
    "member": ("train.members", ["base"]),
    "train@base-0": ("train.fit", ["base-0"]),
    "train@base-1": ("train.fit", ["base-1"]),
}
ROUND = {
    "teacher": "start",
    "threshold": 0.05,
    "power": 1.0,
    "probability": 0.5,
    "share": 0.5,
    "override": {},
    "taught_by": {"base": ["base"]},
}
ROUNDS: dict[str, Any] = {
    "first": ROUND | {"folds": "all", "override": {"epochs": 2, "optimiser": {"warmup_epochs": 0.0}}},
    "second": ROUND | {"teacher": "first", "alpha": 0.5, "power": 2.0},
}


def tiny_params() -> dict[str, Any]:
    raw = tiny.tiny_params("chorus")
    raw["views"] = {"mel": raw["views"]["mel"]}
    raw["members"] = {"base": raw["members"]["base"]}
    raw["student"] |= {"hop_s": 0.5, "rounds": ROUNDS, "least_gain": None}
    return raw


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose models lie in models/ and at the start of the noisy student."""
    root = tmp_path_factory.mktemp("student")
    tiny.write_data(root / "chorus")
    rng = np.random.default_rng(5)
    dusk = [tiny.song(tiny.SPECIES["midton"], 6, rng), tiny.song(tiny.SPECIES["higton"], 6, rng)]
    tiny.write_audio(root / "chorus/test_soundscapes/dusk.ogg", np.concatenate(dusk))
    tiny.write_params(root / "params.yaml", tiny_params())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for module, arguments in BEFORE.values():
            run_stage(module, *arguments)
        for fold in (0, 1):
            run_stage("train.student.start", f"base-{fold}")
        yield root


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change."""
    root = tmp_path / "copy"
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns("chorus"))
    monkeypatch.chdir(root)
    return root


@dataclass(frozen=True)
class Rounds:
    """A project after both rounds, and which keys each stage read."""

    root: Path
    reads: dict[str, set[str]]


@pytest.fixture(scope="package")
def rounds(finished: Path) -> Rounds:
    reads = {}
    for name in ROUNDS:
        reads[f"pseudo@{name}"] = run_stage("train.student.pseudo", name)
        for fold in (0, 1):
            reads[f"student@{name}-base-{fold}"] = run_stage("train.student.fit", f"{name}-base-{fold}")
    reads["student_report"] = run_stage("train.student.report")
    return Rounds(finished, reads)


def change(root: Path, **keys: Any) -> None:
    raw = tiny_params()
    raw["student"] |= keys
    tiny.write_params(root / "params.yaml", raw)
