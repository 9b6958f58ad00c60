"""Short forms of the trials of stores; `make torture` runs them at full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.mapped import MappedParts
from cache.verify import Contents
from tests.torture import flips, kills
from tests.torture.projects import strays

pytestmark = pytest.mark.slow


def test_killed_builds_end_in_the_same_store_and_leave_nothing() -> None:
    outcome = kills.trial(tried=3, seed=2)
    assert (outcome.tried, outcome.failed, outcome.worst) == (3, 0, "")
    assert outcome.figure.startswith("0 recordings lost, 0 stores differ, 0 stray files, 0 processes survive")


def test_flipped_bits_are_found_and_named() -> None:
    outcome = flips.trial(tried=40)
    assert (outcome.failed, outcome.worst) == (0, "")


def test_trial_of_flips_notices_readers_that_do_not_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MappedParts, "check", lambda self, part_R, chunk_R: 0)
    assert flips.trial(tried=20).failed > 0


def test_trial_of_flips_notices_a_blind_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contents, "changed_parts", lambda self, index, full: iter(()))
    outcome = flips.trial(tried=20)
    assert outcome.failed > 0
    assert "parts/" in outcome.worst


def test_trial_of_kills_names_what_is_left_behind(tmp_path: Path) -> None:
    for name in (".birdcache/pool/ab/tmp-1/c", "data/cache/.mel.zarr.new", "data/cache/mel.zarr/parts", "tmp/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/cache/.mel.zarr.lock").touch()
    assert strays(tmp_path) == [".birdcache/pool/ab/tmp-1", "data/cache/.mel.zarr.new", "tmp/x"]
