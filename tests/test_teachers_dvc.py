"""Teachers under DVC: another network runs its own view again, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.plan.stages import plan_stages
from tests.fixtures import tiny
from tests.fixtures.hostile_bundle import model, write_bundle
from tests.test_dvc import copy_of_the_code, dvc, start_git

pytestmark = pytest.mark.slow
STAGES = ("spectrograms@mel", "spectrograms@birds")


def ran(told: str) -> list[str]:
    return [line.split("'")[1] for line in told.splitlines() if line.startswith("Running stage")]


def test_another_network_runs_its_own_view_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of_the_code(tmp_path)
    start_git(tmp_path)
    tiny.write_data(tmp_path / "chorus")
    raw = tiny.tiny_params("chorus")
    raw["views"]["birds"] = {
        "kind": "embedding",
        "file": "teachers/birds.bundle",
        "sample_rate_hz": 16000,
        "window_s": 1.0,
        "hop_s": 1.0,
        "scores": "scores",
    }
    tiny.write_params(tmp_path / "params.yaml", raw)
    write_bundle(tmp_path / "teachers/birds.bundle", model(axes=("batch", 16000)))
    assert set(STAGES) < set(ran(dvc(tmp_path, "repro", *STAGES)))
    before = (tmp_path / "data/stores/birds.sha256").read_text()
    assert ran(dvc(tmp_path, "repro", *STAGES)) == []

    raw["members"]["pcen"]["dropout"] = 0.4
    tiny.write_params(tmp_path / "params.yaml", raw)
    assert ran(dvc(tmp_path, "repro", *STAGES)) == ["check"]

    write_bundle(tmp_path / "teachers/birds.bundle", model(axes=("batch", 16000), most=0.5))
    monkeypatch.chdir(tmp_path)
    states = {plan.stage: plan.state for plan in plan_stages()}
    assert [states[each] for each in ("check", *STAGES)] == ["runs", "up to date", "runs"]
    assert ran(dvc(tmp_path, "repro", *STAGES)) == ["check", "spectrograms@birds"]
    assert (tmp_path / "data/stores/birds.sha256").read_text() != before
