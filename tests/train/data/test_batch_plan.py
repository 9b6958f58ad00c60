"""Plans of batches: the same for any number of processes and after a resumption; where each clip comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.data import batch_plan
from train.data.batch_plan import BACKGROUND, CLIP, PARTNER, THIRD, BatchPlan, Planner
from train.data.columns import part
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
    "augment": {"mixup": {"probability": 0.6, "third": 0.5}, "background": {"probability": 0.5, "label": "bird3"}},
}


@pytest.fixture
def examples(random_store: RandomStore, view: MelView, examples_of: ExamplesOf) -> Examples:
    return examples_of(random_store(LENGTHS, view), PRIMARY, ((0, 1), (7, 0)), RATING)


@pytest.fixture
def mixed(recipe: Recipe) -> Recipe:
    """A recipe with partners and backgrounds: 16 clips in batches of 6, the last one filled up."""
    return resolve_recipe(recipe, MIXED)


Clip = tuple[bytes, ...]


def clips_of(plan: BatchPlan) -> list[Clip]:
    """Each clip with all that is known of it and its other sounds."""
    return list(zip(*([row.tobytes() for row in column] for column in columns_of(plan)), strict=True))


def columns_of(plan: tuple[Any, ...]) -> Iterator[Any]:
    for column in plan:
        yield from columns_of(column) if isinstance(column, tuple) else (column,)


def epoch_of(planner: Planner, epoch: int, first: int = 0) -> list[Clip]:
    return [clip for plan in planner.epoch(epoch, first) for clip in clips_of(plan)]


def whole_epoch(planner: Planner, epoch: int) -> BatchPlan:
    return next(planner.pieces(epoch))


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


@pytest.mark.parametrize("first", [1, 2, 3])
def test_an_epoch_that_is_resumed_goes_on_with_the_same_clips(
    examples: Examples, view: MelView, mixed: Recipe, first: int
) -> None:
    planner = Planner(examples, view, mixed)
    assert epoch_of(planner, 5, first) == epoch_of(planner, 5)[first * 6 :]


def test_the_batch_size_changes_no_clip(examples: Examples, view: MelView, mixed: Recipe) -> None:
    whole = epoch_of(Planner(examples, view, resolve_recipe(mixed, {"batch_size": 16})), 1)
    for size in (2, 4, 6, 8):
        other = epoch_of(Planner(examples, view, resolve_recipe(mixed, {"batch_size": size})), 1)
        assert other[:16] == whole


def test_many_pieces_of_an_epoch_are_one(
    examples: Examples, view: MelView, mixed: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = Planner(examples, view, mixed)
    whole = epoch_of(planner, 2)
    monkeypatch.setattr(batch_plan, "PIECE_CELLS", 1)
    assert len(list(planner.pieces(2))) == len(planner) == 3
    assert epoch_of(planner, 2) == whole


@pytest.mark.parametrize(
    ("world", "clips", "sizes"),
    [
        (1, 12, [6, 6]),
        (1, 13, [6, 6, 6]),
        (1, 5, [5]),
        (1, 1, []),
        (2, 14, [3, 3, 3]),
        (3, 8, [2, 2]),
        (3, 5, []),
        (2, 5, [2, 2]),
    ],
)
def test_all_batches_have_one_size_and_no_process_gets_a_single_clip(
    examples: Examples, view: MelView, mixed: Recipe, world: int, clips: int, sizes: list[int]
) -> None:
    recipe = resolve_recipe(mixed, {"sampling": {"clips_per_epoch": clips}})
    planner = Planner(examples, view, recipe, Ranks(world - 1, world))
    assert [plan.size for plan in planner.epoch(0)] == sizes
    assert planner.clips == world * sum(sizes)
    assert len(planner) == len(sizes)


@pytest.mark.parametrize("order", ["full", "parts"])
def test_the_last_batch_is_filled_with_other_clips_of_the_epochs_first_recordings(
    examples: Examples, view: MelView, mixed: Recipe, order: str
) -> None:
    changes = {"sampling": {"order": order, "parts_at_once": 1, "weighted": False, "clips_per_epoch": None}}
    plan = whole_epoch(Planner(examples, view, resolve_recipe(mixed, changes)), 0)
    assert plan.size == 18
    assert sorted(plan.row[:16, CLIP].tolist()) == sorted(examples.rows.tolist())
    assert np.array_equal(plan.row[16:, CLIP], plan.row[:2, CLIP])
    starts = uniform(mixed.seed, 0, np.arange(16, 18), Purpose.START)[:, 0]
    frames = plan.frames[16:, CLIP]
    assert np.array_equal(plan.start[16:, CLIP], clip_starts(frames, 40, mixed.short == "loop", starts))


@pytest.mark.parametrize("world", [1, 2])
def test_two_views_of_a_clip_differ_in_what_is_done_to_it_alone(
    examples: Examples, view: MelView, mixed: Recipe, world: int
) -> None:
    recipe = resolve_recipe(mixed, {"loss": {"consistency": 1.0}, "batch_size": 8, "augment": {"gain_db": 6.0}})
    planner = Planner(examples, view, recipe, Ranks(world - 1, world))
    plan = whole_epoch(planner, 0)
    assert len(planner) == 4  # 16 clips twice, in batches of 8
    assert plan.size == 32 // world
    one, other = (part(plan, slice(first, None, 2)) for first in (0, 1))
    for name in ("row", "first", "start", "mixtures", "targets", "weights", "importance"):
        for mine, its in zip(*map(columns_of, ((getattr(one, name),), (getattr(other, name),))), strict=True):
            assert np.array_equal(mine, its), name
    assert not (one.effects.tone_db == other.effects.tone_db).any()
    plain = whole_epoch(Planner(examples, view, mixed), 0)
    if world == 1:
        assert np.array_equal(one.row[:, :2], plain.row[:16, :2])


@pytest.mark.parametrize("short", ["pad", "loop"])
def test_a_share_of_the_clips_shows_a_shorter_part_of_what_it_would_show(
    examples: Examples, view: MelView, mixed: Recipe, short: str
) -> None:
    many = resolve_recipe(mixed, {"short": short, "sampling": {"clips_per_epoch": 3000}})
    changed = resolve_recipe(many, {"augment": {"shorter": {"probability": 0.4, "clip_s": 0.2}}})  # 13 frames of 40
    plain, plan = (whole_epoch(Planner(examples, view, recipe), 0) for recipe in (many, changed))
    long, is_cut = plain.frames[:, CLIP] > 13, plan.frames[:, CLIP] != plain.frames[:, CLIP]
    assert abs(is_cut[long].mean() - 0.4) < 0.04
    assert not is_cut[~long].any()
    assert (plan.frames[is_cut, CLIP] == 13).all()
    assert (plan.first[:, CLIP] >= plain.first[:, CLIP]).all()
    assert (plan.first + plan.frames <= plain.first + plain.frames)[:, CLIP].all()
    begins, ends = plan.first - plain.first, plan.first + plan.frames - plain.first - plain.frames
    assert begins[is_cut, CLIP].min() == ends[is_cut, CLIP].max() == 0, "anywhere, the ends included"
    positions = Planner(examples, view, changed).clips_of(plan)[1][: plan.size]
    shown = [len(np.unique(row[row >= 0])) for row in positions[is_cut]]
    assert set(shown) == {13}
    assert ((positions[is_cut] < 0).sum(axis=1) == (27 if short == "pad" else 0)).all()
    for name in ("row", "start"):
        assert np.array_equal(getattr(plan, name)[~is_cut], getattr(plain, name)[~is_cut])
    assert np.array_equal(plan.row, plain.row)


def test_clips_partners_and_backgrounds_begin_where_their_own_draws_say(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    planner, index = Planner(examples, view, mixed), np.arange(18)
    plan = whole_epoch(planner, 2)
    frames_of = dict(zip(examples.rows.tolist(), examples.frames.tolist(), strict=True))
    expected = []
    starts_of = (Purpose.START, Purpose.PARTNER_START, Purpose.BACKGROUND_START, Purpose.THIRD_START)
    for sound, purpose in enumerate(starts_of):
        chosen = plan.has[:, sound]
        frames = np.array([frames_of[row] for row in plan.row[chosen, sound].tolist()])
        starts = clip_starts(frames, 40, mixed.short == "loop", uniform(mixed.seed, 2, index[chosen], purpose)[:, 0])
        assert np.array_equal(plan.frames[chosen, sound], frames)
        assert np.array_equal(plan.start[chosen, sound], starts)
        assert not plan.frames[~chosen, sound].any()
        expected.append(clip_positions(starts, frames, 40, mixed.short == "loop"))
    rows, positions = planner.clips_of(plan)
    assert np.array_equal(positions, np.concatenate(expected))
    assert np.array_equal(rows, plan.row.T[plan.has.T])
    all_rows, full = planner.clips_of(plan, full=True)
    assert np.array_equal(all_rows, plan.row.T.ravel())
    assert np.array_equal(full[plan.has.T.ravel()], positions)
    assert (full[~plan.has.T.ravel()] == -1).all()


@pytest.mark.parametrize("short", ["pad", "loop"])
def test_a_device_finds_the_same_frames_by_itself(examples: Examples, view: MelView, mixed: Recipe, short: str) -> None:
    planner = Planner(examples, view, resolve_recipe(mixed, {"short": short}))
    plan = whole_epoch(planner, 3)
    rows, positions = planner.clips_of(plan, full=True)
    sounds = torch.from_numpy(np.stack([1000 * plan.row + plan.first, plan.frames, plan.start], axis=2))
    expected = np.where(positions < 0, 7, 1000 * rows[:, None] + positions)
    assert np.array_equal(planner.places(sounds, padding=7).numpy(), expected)


def test_what_a_recipe_never_mixes_in_has_no_place_in_a_batch(examples: Examples, view: MelView, mixed: Recipe) -> None:
    never = {"probability": 0.0}
    for augment, sounds in (
        ({"mixup": never, "background": never}, [CLIP]),
        ({"mixup": never}, [CLIP, BACKGROUND]),
        ({"mixup": {"third": 0.0}}, [CLIP, PARTNER, BACKGROUND]),
        ({"background": never}, [CLIP, PARTNER, THIRD]),
    ):
        planner = Planner(examples, view, resolve_recipe(mixed, {"augment": augment}))
        assert planner.sounds == sounds
        assert len(planner.clips_of(whole_epoch(planner, 0), full=True)[0]) == 18 * len(sounds)


def test_each_clip_has_the_targets_and_the_rating_of_its_recording(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    never = resolve_recipe(mixed, {"augment": {"mixup": {"probability": 0.0}}})
    for plan in Planner(examples, view, never).epoch(0):
        for row, target, importance in zip(plan.row[:, CLIP], plan.targets, plan.importance, strict=True):
            number = list(examples.rows).index(row)
            assert target.argmax() == PRIMARY[number]
            rated = max(RATING[number] / 5, 0.3) if RATING[number] else 1.0
            assert importance == pytest.approx(rated)


def test_a_class_that_a_source_cannot_tell_is_taught_by_no_clip_of_it_mixed_or_not(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    """Of bird1 a source says nothing that holds every other recording of other birds."""
    unknown = np.zeros_like(examples.secondary)
    unknown[::2, 1] = examples.primary[::2] != 1
    plan = whole_epoch(Planner(replace(examples, unknown=unknown), view, mixed), 0)
    silent = np.zeros(len(plan.row), bool)
    for sound in (CLIP, PARTNER):
        own = [examples.rows.tolist().index(row) for row in plan.row[:, sound]]
        silent |= unknown[own, 1] & (plan.frames[:, sound] > 0)
    assert {True, False} == set(silent.tolist())
    assert (plan.weights[:, 1] == np.where(silent & (plan.targets[:, 1] == 0), 0, 1)).all()
    assert (np.delete(plan.weights, 1, axis=1) == 1).all()


def test_backgrounds_are_recordings_of_the_label_without_birds(
    examples: Examples, view: MelView, mixed: Recipe
) -> None:
    always = resolve_recipe(mixed, {"augment": {"background": {"probability": 1.0}}})
    planner = Planner(examples, view, always)
    under = [row for epoch in range(8) for row in whole_epoch(planner, epoch).row[:, BACKGROUND].tolist()]
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
    plan = whole_epoch(Planner(examples, view, recipe), 0)
    for row, partner in plan.row[plan.has[:, PARTNER], :BACKGROUND].tolist():
        assert part_of[partner] == part_of[row]
    parts = [part_of[row] for row in plan.row[:, CLIP].tolist()]
    assert parts in (sorted(parts), sorted(parts, reverse=True))
