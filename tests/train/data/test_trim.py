"""Quiet ends are left out, and clips, statistics and validation see what is left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.spans import loud_span, trimmed
from train.score.inference import covering_clips

Floats = npt.NDArray[np.float32]


def recording(*levels_db: float, mel_bins: int = 32) -> Floats:
    """Ten frames of each level, in the loudest of the mel bins; the others lie 20 dB lower."""
    frames = np.repeat(np.array(levels_db, np.float32), 10)[:, None] - np.float32(20) * (np.arange(mel_bins) != 3)
    return np.asarray(np.maximum(frames, -100), np.float32)


@pytest.mark.parametrize(
    ("levels", "trim_db", "span"),
    [
        ((-100, -20, -100), 50, (8, 22)),
        ((-100, -100, -20), 50, (18, 30)),
        ((-20, -100, -30), 50, (0, 30)),  # what is quiet between the ends stays
        ((-100, -60, -20, -90), 50, (8, 32)),
        ((-100, -60, -20, -90), 30, (18, 32)),
        ((-100, -100), 50, (0, 20)),  # silence has no loud part, or is all of it
        ((-20, -70), 50, (0, 20)),  # exactly trim_db below is not yet quiet
    ],
)
def test_the_loud_part_reaches_to_the_last_frame_within_the_range(
    levels: tuple[float, ...], trim_db: float, span: tuple[int, int]
) -> None:
    assert loud_span(recording(*levels), trim_db) == span


@pytest.fixture
def store(make_store: Callable[..., Store], view: MelView) -> Store:
    every = [recording(-100, -20, -100), recording(-30, -25), recording(*[-100] * 3, *[-10] * 8, -100)]
    return make_store([values[:, : view.n_mels] for values in every], view)


@pytest.fixture
def examples(store: Store, examples_of: Callable[..., Examples]) -> Examples:
    return examples_of(store, (0, 1, 2))


def test_examples_are_trimmed_each_by_its_own_loudest_frame(store: Store, examples: Examples) -> None:
    found = trimmed(examples, store, 50)
    assert list(zip(found.first.tolist(), found.frames.tolist(), strict=True)) == [(8, 14), (0, 20), (28, 84)]
    assert found.names == examples.names
    subset = found.subset(np.array([2, 0]))
    assert (subset.first.tolist(), subset.frames.tolist()) == ([28, 8], [84, 14])


@pytest.mark.parametrize("short", ["pad", "loop"])
def test_training_and_validation_see_only_what_is_left(
    store: Store, examples: Examples, view: MelView, recipe: Recipe, short: str
) -> None:
    found = trimmed(examples, store, 50)
    recipe = resolve_recipe(recipe, {"short": short, "batch_size": 3})
    used = dict(zip(found.rows.tolist(), zip(found.first, found.first + found.frames, strict=True), strict=True))
    seen: dict[int, set[int]] = {row: set() for row in used}
    for epoch in range(400):
        planner = Planner(found, view, recipe)
        for plan in planner.epoch(epoch):
            rows, positions = planner.clips_of(plan)
            for row, position_T in zip(rows.tolist(), positions, strict=True):
                seen[row] |= set(position_T.tolist()) - {-1}
    for row, (first, end) in used.items():
        assert seen[row] == set(range(first, end))
    clips = covering_clips(found, 40)
    assert clips.first.tolist() == found.first[clips.owner].tolist()
    assert clips.frames.tolist() == found.frames[clips.owner].tolist()
