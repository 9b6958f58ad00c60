"""A short form of the trials of trainings, and that each notices when a protection is taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import checkpoint_flips, killed_trainings
from tests.torture.trainings import left_by, make_project
from train.loop import checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose training can be killed."""
    return make_project(tmp_path_factory.mktemp("torture") / "project")


def test_killed_training_ends_as_if_nobody_had_killed_it(project: Path) -> None:
    outcome = killed_trainings.trial(1, project=project)
    assert (outcome.tried, outcome.failed, outcome.worst) == (1, 0, "")
    assert "1 of 1 left the 12 files of an undisturbed training" in outcome.figure


def test_trial_notices_a_training_that_ends_otherwise(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def left(root: Path) -> dict[str, bytes]:
        calls.append(root)
        return left_by(root) | ({} if len(calls) == 1 else {"models/base/0/model.json": b"another"})

    monkeypatch.setattr(killed_trainings, "left_by", left)
    outcome = killed_trainings.trial(1, project=project)
    assert (outcome.failed, outcome.worst) == (1, "training 0 left another models/base/0/model.json")


def test_flipped_bits_of_checkpoints_and_models_are_noticed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = checkpoint_flips.trial(40, project=project)
    assert (outcome.tried, outcome.failed, outcome.worst) == (40, 0, "")
    monkeypatch.setattr(checkpoint, "_intact", lambda path, sha256: path.read_bytes())
    unprotected = checkpoint_flips.trial(40, project=project)
    assert unprotected.failed > 5
    assert "read as if it were whole" in unprotected.worst
