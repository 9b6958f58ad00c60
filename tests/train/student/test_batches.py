"""Pseudo-labelled clips in training batches: who gets one, which, mixed how and called what, against a slow loop.

T frame, M mel bin, K class, N pseudo-labelled clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView, PcenView
from cache.store import Store
from train.augment.batch import Batch, BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data import sampling
from train.data.augment_draws import RULES, STUDENT, draw_mixtures
from train.data.batch_plan import BatchPlan, Planner
from train.data.examples import Examples
from train.data.frames import DeviceFrames, HostFrames, StreamFrames
from train.data.multi_view import ConcatFrames
from train.data.random import Purpose, uniform
from train.data.sampling import PseudoClips
from train.loop.distributed import Ranks

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90, 64, 200, 15, 33)
PRIMARY = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
SOUNDSCAPES = (500, 300, 30)
MANY = np.arange(4000)
CLIP_FRAMES = 40
MIXED: dict[str, Any] = {
    "batch_size": 6,
    "sampling": {"weighted": True, "clips_per_epoch": 24},
    "secondary": {"policy": "mask"},
    "loss": {"lowest_rating_weight": 0.2},
    "augment": {
        "gain_db": 6.0,
        "mixup": {"probability": 0.3, "alpha": 0.8},
        "cutmix": {"probability": 0.3, "alpha": 1.0},
        "background": {"probability": 0.3, "label": "bird2"},
    },
}
ON_PCEN: dict[str, Any] = {"augment": {"gain_db": 0.0, "background": {"probability": 0.0}}}


def clips_of(store: Store, probability: float = 0.5, share: float = 0.5) -> PseudoClips:
    """Five clips, of which the second is never drawn; the last one is of a soundscape shorter than a clip."""
    rows = store.rows_of([f"{number:064x}" for number in (0, 0, 1, 1, 2)])
    scores = np.array([[0.9, 0, 0.4], [0, 0, 0], [0, 0.7, 0], [0.2, 0.3, 0.6], [0, 0.5, 0]], np.float32)
    start = np.array([0, 100, 260, 17, 0], np.int64)
    return PseudoClips(rows, store.frames[rows], start, scores, np.array([4.0, 0, 3, 2, 1]), probability, share)


@pytest.fixture(params=["mel", "pcen"])
def any_view(request: pytest.FixtureRequest, view: MelView, pcen_view: PcenView) -> MelView | PcenView:
    return view if request.param == "mel" else pcen_view


@pytest.fixture
def stores(random_store: Callable[..., Store], any_view: MelView | PcenView) -> tuple[Store, Store]:
    return random_store(LENGTHS, any_view), random_store(SOUNDSCAPES, any_view)


@pytest.fixture
def examples(stores: tuple[Store, Store], examples_of: Callable[..., Examples]) -> Examples:
    return examples_of(stores[0], PRIMARY, ((0, 1), (7, 0)), (5, 4, 3, 2, 1, 0) * 2)


@pytest.fixture
def mixed(recipe: Recipe, any_view: MelView | PcenView) -> Recipe:
    changed = resolve_recipe(recipe, MIXED)
    return changed if isinstance(any_view, MelView) else resolve_recipe(changed, ON_PCEN)


def batches_of(
    stores: tuple[Store, Store], examples: Examples, recipe: Recipe, pseudo: PseudoClips | None, way: Any = HostFrames
) -> TrainingBatches:
    cpu, view = torch.device("cpu"), stores[0].view
    frames = ConcatFrames(way(stores[0], cpu), way(stores[1], cpu), len(LENGTHS)) if pseudo else way(stores[0], cpu)
    nothing = BinStatistics(torch.zeros(1, view.n_mels), torch.ones(1, view.n_mels))
    transform = BatchTransform(view, recipe, Normaliser(view, recipe, nothing), cpu)
    offset = pseudo.offset(len(LENGTHS)) if pseudo else None
    return TrainingBatches(Planner(examples, view, recipe, pseudo=offset), frames, transform)


def whole(batches: TrainingBatches, epoch: int) -> Batch:
    parts = [batch for batch, _ in batches.epoch(epoch)]
    columns = ([getattr(part, name) for part in parts] for name in ("clips", "targets", "weights", "importance"))
    return Batch(*(torch.cat(column) for column in columns))


def is_share(count: int, probability: float, of: int = len(MANY)) -> bool:
    return bool(scipy.stats.binomtest(count, of, probability).pvalue > 1e-3)


@pytest.mark.parametrize("any_view", ["mel"], indirect=True)
def test_labels_of_recordings_are_mixed_with_what_their_teacher_says_by_alpha(
    stores: tuple[Store, Store], examples: Examples, mixed: Recipe
) -> None:
    """Some cells are left out of the loss, one recording is unknown, and a window of a soundscape keeps its truth."""
    alone = resolve_recipe(mixed, {"augment": {name: {"probability": 0.0} for name in ("mixup", "cutmix")}})
    (plain,) = Planner(examples, stores[0].view, alone).pieces(0)
    softened, unknown = np.random.default_rng(4).random((len(LENGTHS), 3)).astype(np.float32), int(plain.row[0, 0])
    softened[unknown] = np.nan
    pseudo = replace(clips_of(stores[1], 0.0), alpha=0.25, softened=softened)
    (plan,) = Planner(examples, stores[0].view, alone, pseudo=pseudo.offset(len(LENGTHS))).pieces(0)
    np.testing.assert_array_equal(plan.weights, plain.weights)
    row_N = plan.row[:, 0]
    expected = plain.targets.copy()
    for clip, row in enumerate(row_N.tolist()):
        for label in np.flatnonzero(plain.weights[clip]) if row != unknown else []:
            expected[clip, label] = 0.25 * softened[row, label] + 0.75 * plain.targets[clip, label]
    assert not plain.weights.all()
    np.testing.assert_allclose(plan.targets, expected, rtol=1e-6)
    truth = np.array([[1, 0, 0.5]], np.float32)
    pseudo.soften_(np.array([len(LENGTHS)]), truth, np.ones_like(truth))
    assert truth.tolist() == [[1, 0, 0.5]]


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_clip_gets_a_pseudo_labelled_one_with_its_probability_and_then_no_other(
    stores: tuple[Store, Store], recipe: Recipe, probability: float
) -> None:
    ways = {"mixup": {"probability": 0.5, "labels": "lambda"}, "cutmix": {"probability": 0.3, "labels": "sum"}}
    augment = resolve_recipe(recipe, {"augment": ways}).augment
    alone = draw_mixtures(1, 0, MANY, augment, CLIP_FRAMES)
    both = draw_mixtures(1, 0, MANY, augment, CLIP_FRAMES, clips_of(stores[1], probability))
    assert is_share(int(both.pseudo.sum()), probability)
    assert is_share(int((both.partnered & ~both.pseudo).sum()), 0.8 * (1 - probability))
    for name in both._fields:
        ours, theirs = (getattr(each, name)[~both.pseudo] for each in (both, alone))
        assert np.array_equal(ours, theirs), "those without one have what they had"
    assert both.partnered[both.pseudo].all()
    assert not alone.pseudo.any()


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_pseudo_labelled_clip_has_the_rest_of_the_power_and_labels_by_max(
    stores: tuple[Store, Store], recipe: Recipe, share: float
) -> None:
    mixtures = draw_mixtures(1, 0, MANY, recipe.augment, CLIP_FRAMES, clips_of(stores[1], 1.0, share))
    assert mixtures.pseudo.all()
    np.testing.assert_allclose(mixtures.weights, np.tile([share, 1 - share, 0], (len(MANY), 1)), rtol=1e-6)
    assert (mixtures.span == [0, CLIP_FRAMES]).all()
    assert {RULES[rule] for rule in mixtures.rule} == {"max"}
    assert STUDENT == 3


def test_pseudo_labelled_clips_are_drawn_by_confidence(stores: tuple[Store, Store]) -> None:
    drawn = clips_of(stores[1]).drawn(1, 0, MANY)
    counts = np.bincount(drawn, minlength=5)
    assert counts[1] == 0
    assert all(is_share(count, share) for count, share in zip(counts, (0.4, 0, 0.3, 0.2, 0.1), strict=True) if share)
    position = uniform(1, 0, MANY, Purpose.STUDENT_CLIP)[:, 0] * 10
    assert np.array_equal(drawn, np.array([0, 2, 3, 4])[np.searchsorted([4, 7, 9, 10], position, side="right")])


def test_not_even_the_lowest_draw_finds_a_clip_without_confidence(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = replace(clips_of(stores[1]), confidence=np.array([0.0, 0, 3, 0, 1]))
    for draw, expected in ((0.0, 2), (0.75, 4), (1 - 2**-53, 4)):
        monkeypatch.setattr(sampling, "uniform", lambda *_, draw=draw: np.full((1, 1), draw))
        assert clips.drawn(1, 0, MANY[:1]).tolist() == [expected]


def test_who_gets_a_clip_says_nothing_of_which(stores: tuple[Store, Store]) -> None:
    who, which = (uniform(1, 0, MANY, purpose)[:, 0] for purpose in (Purpose.STUDENT, Purpose.STUDENT_CLIP))
    others = [uniform(1, 0, MANY, purpose)[:, 0] for purpose in Purpose if purpose not in (Purpose.STUDENT,)]
    assert abs(np.corrcoef(who, which)[0, 1]) < 4 / np.sqrt(len(MANY))
    assert all(abs(np.corrcoef(who, other)[0, 1]) < 4.5 / np.sqrt(len(MANY)) for other in others)


def test_an_epoch_with_pseudo_labelled_clips_equals_a_slow_loop(
    stores: tuple[Store, Store], examples: Examples, mixed: Recipe
) -> None:
    """Without augmentations of their own, so that a mixture can be made by hand."""
    never = {"probability": 0.0}
    plain = resolve_recipe(mixed, {"augment": {"gain_db": 0.0, "mixup": never, "cutmix": never, "background": never}})
    pseudo = clips_of(stores[1], 0.5, 0.7)
    without, with_it = (whole(batches_of(stores, examples, plain, each), 2) for each in (None, pseudo))
    in_db = isinstance(stores[0].view, MelView)
    mixtures = draw_mixtures(plain.seed, 2, np.arange(24), plain.augment, CLIP_FRAMES, pseudo)
    place = np.flatnonzero(mixtures.pseudo)
    chosen = dict(zip(place.tolist(), pseudo.drawn(plain.seed, 2, place).tolist(), strict=True))
    assert 5 < len(chosen) < 20
    for index in range(24):
        expected, target = without.clips[index, 0].numpy().astype(np.float64), without.targets[index].numpy()
        weight = without.weights[index].numpy()
        if index in chosen:
            n = chosen[index]
            other = slow_cut(stores[1], pseudo, n).T
            if in_db:
                power = 0.7 * 10 ** (expected / 10) + 0.3 * 10 ** (other / 10)
                expected = 10 * np.log10(np.maximum(power, 1e-10))
            else:
                expected = 0.7 * expected + 0.3 * other
            target = np.maximum(target, pseudo.scores[n])
            weight = np.where(target > 0, 1, weight)
        assert np.abs(with_it.clips[index, 0].numpy() - expected).max() < 1e-3
        np.testing.assert_allclose(with_it.targets[index].numpy(), target, atol=1e-6)
        assert np.array_equal(with_it.weights[index].numpy(), weight)
        assert with_it.importance[index] == without.importance[index], "a pseudo-labelled clip has no rating"


def slow_cut(store: Store, pseudo: PseudoClips, n: int) -> Any:
    """Clip n in float64, padded with the codec's lowest value: (T, M)."""
    soundscape = store.read(int(pseudo.row[n])).astype(np.float64)
    cut = np.full((CLIP_FRAMES, soundscape.shape[1]), store.quantizer.low)
    piece = soundscape[pseudo.start[n] : pseudo.start[n] + CLIP_FRAMES]
    cut[: len(piece)] = piece
    return cut


@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_processes_together_are_the_batch_of_one(
    stores: tuple[Store, Store], examples: Examples, mixed: Recipe, world: int
) -> None:
    pseudo = clips_of(stores[1]).offset(len(LENGTHS))
    view = stores[0].view
    alone = [said(plan) for plan in Planner(examples, view, mixed, pseudo=pseudo).epoch(3)]
    shares = [Planner(examples, view, mixed, Ranks(rank, world), pseudo).epoch(3) for rank in range(world)]
    for expected, *parts in zip(alone, *shares, strict=True):
        assert [clip for part in parts for clip in said(part)] == expected


def said(plan: BatchPlan) -> list[Any]:
    """Each clip with its partner and its labels."""
    columns = (plan.row, plan.start, plan.frames, plan.targets, plan.weights, plan.importance)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_neither_batch_size_nor_placement_nor_resumption_changes_a_clip(
    stores: tuple[Store, Store], examples: Examples, mixed: Recipe
) -> None:
    pseudo = clips_of(stores[1])
    expected = whole(batches_of(stores, examples, mixed, pseudo), 1)
    for way in (DeviceFrames, lambda store, cpu: StreamFrames(store, cpu, 50_000)):
        assert torch.equal(whole(batches_of(stores, examples, mixed, pseudo, way), 1).clips, expected.clips)
    larger = whole(batches_of(stores, examples, resolve_recipe(mixed, {"batch_size": 12}), pseudo), 1)
    assert torch.allclose(larger.clips, expected.clips, rtol=0, atol=1e-5)
    assert torch.equal(larger.targets, expected.targets)
    resumed = [batch for batch, _ in batches_of(stores, examples, mixed, pseudo).epoch(1, first=2)]
    assert torch.equal(torch.cat([batch.clips for batch in resumed]), expected.clips[12:])


@pytest.mark.parametrize("order", ["full", "parts"])
def test_without_pseudo_labelled_clips_plans_are_as_they_were(
    stores: tuple[Store, Store], examples: Examples, mixed: Recipe, order: str
) -> None:
    """And with them at probability 0; order `parts` only arranges recordings."""
    recipe = resolve_recipe(mixed, {"sampling": {"order": order}})
    never = replace(clips_of(stores[1]), probability=0.0)
    plain, with_none = (Planner(examples, stores[0].view, recipe, pseudo=each).epoch(4) for each in (None, never))
    for one, other in zip(plain, with_none, strict=True):
        assert said(one) == said(other)


def test_clips_of_a_looped_soundscape_repeat_it(stores: tuple[Store, Store], examples: Examples, mixed: Recipe) -> None:
    pseudo = replace(clips_of(stores[1], 1.0), confidence=np.array([0.0, 0, 0, 0, 1])).offset(len(LENGTHS))
    looped = resolve_recipe(mixed, {"short": "loop"})
    frames = np.arange(CLIP_FRAMES)
    for recipe, expected in ((looped, frames % 30), (mixed, np.where(frames < 30, frames, -1))):
        planner = Planner(examples, stores[0].view, recipe, pseudo=pseudo)
        _, position = planner.clips_of(next(planner.epoch(0)))
        assert (position[6:12] == expected).all()
