"""Plans of batches: the same for any number of processes and after a resumption; where each clip comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.data.batch_plan import BatchPlan, Planner
from train.data.examples import Examples
from train.data.random import Purpose, uniform
from train.data.sampling import clip_positions, clip_starts
from train.loop.distributed import Ranks

RandomStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90, 64, 200, 15, 33, 47, 300, 38, 80)
PRIMARY = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3)
RATING = (5, 4, 3, 2, 1, 0) * 2 + (5, 5, 2.5, 2.5)
MIXED: dict[str, Any] = {
    "batch_size": 6,
    "sampling": {"weighted": True},
    "loss": {"lowest_rating_weight": 0.3},
    "augment": {"mixup": {"probability": 0.6}, "background": {"probability": 0.5, "label": "bird3"}},
}


@pytest.fixture
def examples(random_store: RandomStore, view: MelView, examples_of: ExamplesOf) -> Examples:
    return examples_of(random_store(LENGTHS, view), PRIMARY, ((0, 1), (7, 0)), RATING)


@pytest.fixture
def mixed(recipe: Recipe) -> Recipe:
    """A recipe with partners and backgrounds: 16 clips in batches of 6, 6 and 4."""
    return resolve_recipe(recipe, MIXED)


Clip = tuple[int, tuple[int, ...], tuple[float, ...], float]


def clips_of(plan: BatchPlan) -> list[tuple[Clip, Clip | None, int | None]]:
    """Each clip of a batch with its partner and the row of its background."""
    size, partnered, backgrounded = plan.draws.size, plan.draws.partnered.tolist(), plan.draws.backgrounded
    columns = (plan.row.tolist(), map(tuple, plan.position.tolist()), map(tuple, plan.targets.tolist()))
    every = list(zip(*columns, plan.importance.tolist(), strict=False))
    partners = dict(zip(partnered, every[size:], strict=True))
    under = dict(zip(backgrounded.tolist(), plan.row[size + len(partnered) :].tolist(), strict=True))
    return [(every[place], partners.get(place), under.get(place)) for place in range(size)]


def epoch_of(planner: Planner, epoch: int, first: int = 0) -> list[Any]:
    return [clip for plan in planner.epoch(epoch, first) for clip in clips_of(plan)]


@pytest.mark.parametrize("order", ["full", "parts"])
@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_processes_together_are_the_batch_of_one(
    examples: Examples, view: MelView, mixed: Recipe, world: int, order: str
) -> None:
    mixed = resolve_recipe(mixed, {"sampling": {"order": order}})
    alone = list(Planner(examples, view, mixed).epoch(3))
    shared = [list(Planner(examples, view, mixed, Ranks(rank, world)).epoch(3)) for rank in range(world)]
    for whole, *shares in zip(alone, *shared, strict=False):
        expected = clips_of(whole)
        assert [clip for share in shares for clip in clips_of(share)] == expected[: len(expected) // world * world]
    assert {len(shares) for shares in shared} == {3 if world == 2 else 2}  # the last batch is of four clips


@pytest.mark.parametrize("first", [1, 2, 3])
def test_an_epoch_that_is_resumed_goes_on_with_the_same_clips(
    examples: Examples, view: MelView, mixed: Recipe, first: int
) -> None:
    planner = Planner(examples, view, mixed)
    assert epoch_of(planner, 5, first) == epoch_of(planner, 5)[first * 6 :]


def test_the_batch_size_changes_no_clip(examples: Examples, view: MelView, mixed: Recipe) -> None:
    for size in (2, 4, 8, 16):
        other = Planner(examples, view, resolve_recipe(mixed, {"batch_size": size}))
        assert epoch_of(other, 1) == epoch_of(Planner(examples, view, mixed), 1)


@pytest.mark.parametrize(("world", "clips", "batches"), [(1, 13, 2), (1, 14, 3), (2, 15, 2), (2, 16, 3), (3, 17, 2)])
def test_a_last_batch_of_one_clip_for_a_process_is_left_out(
    examples: Examples, view: MelView, mixed: Recipe, world: int, clips: int, batches: int
) -> None:
    recipe = resolve_recipe(mixed, {"sampling": {"clips_per_epoch": clips}})
    planner = Planner(examples, view, recipe, Ranks(0, world))
    assert len(planner) == batches
    assert len(list(planner.epoch(0))) == batches


def test_clips_partners_and_backgrounds_begin_where_their_own_draws_say(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    purposes = (Purpose.START, Purpose.PARTNER_START, Purpose.BACKGROUND_START)
    planner, index = Planner(examples, view, mixed), np.arange(6)
    plan = next(iter(planner.epoch(2)))
    chosen = (index, index[plan.draws.partnered], index[plan.draws.backgrounded])
    draws = [uniform(mixed.seed, 2, each, purpose)[:, 0] for each, purpose in zip(chosen, purposes, strict=True)]
    frames = examples.frames[[list(examples.rows).index(row) for row in plan.row]]
    starts = clip_starts(frames, 40, mixed.short == "loop", np.concatenate(draws))
    assert np.array_equal(plan.position, clip_positions(starts, frames, 40, mixed.short == "loop"))
    assert len(plan.row) == sum(map(len, chosen))


def test_each_clip_has_the_targets_and_the_rating_of_its_recording(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    for plan in Planner(examples, view, mixed).epoch(0):
        for row, target, importance in zip(plan.row, plan.targets, plan.importance, strict=False):
            number = list(examples.rows).index(row)
            assert target.argmax() == PRIMARY[number]
            rated = max(RATING[number] / 5, 0.3) if RATING[number] else 1.0
            assert importance == pytest.approx(rated)


def test_backgrounds_are_recordings_of_the_label_without_birds(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    always = resolve_recipe(mixed, {"augment": {"background": {"probability": 1.0}}})
    under = [background for epoch in range(8) for _, _, background in epoch_of(Planner(examples, view, always), epoch)]
    assert set(under) == set(examples.rows[14:].tolist())
    counts = [under.count(row) for row in set(under)]
    assert min(counts) > len(under) / 4


def test_a_background_label_that_nothing_has_is_refused_by_name(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    wrong = resolve_recipe(mixed, {"augment": {"background": {"label": "nocall"}}})
    with pytest.raises(TrainError, match=r"augment\.background\.label = 'nocall'.*probability: 0\.0"):
        Planner(examples, view, wrong)
    Planner(examples, view, resolve_recipe(wrong, {"augment": {"background": {"probability": 0.0}}}))


def test_partners_of_order_parts_come_from_the_span_of_their_clip(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    recipe = resolve_recipe(mixed, {"batch_size": 16, "sampling": {"order": "parts", "parts_at_once": 1}})
    part_of = dict(zip(examples.rows.tolist(), examples.part.tolist(), strict=True))
    for clip, partner, _ in epoch_of(Planner(examples, view, recipe), 0):
        assert partner is None or part_of[partner[0]] == part_of[clip[0]]
    rows = [clip[0] for clip, *_ in epoch_of(Planner(examples, view, recipe), 0)]
    parts = [part_of[row] for row in rows]
    assert parts in (sorted(parts), sorted(parts, reverse=True))
