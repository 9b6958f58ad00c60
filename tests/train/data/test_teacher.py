"""What a teacher says of clips, against slow loops over their seconds.

N clip, W window, D dimension, K class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.arrays import Floats64
from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.teacher import TeacherParams
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.teaching import EMBEDDING, HOP_S, WINDOW_S, opened, teacher_store
from train.augment.batch import BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import BatchPlan, Planner
from train.data.examples import Examples
from train.data.frames import HostFrames
from train.data.member import ResolvedMember
from train.data.multi_view import ConcatFrames
from train.data.sampling import PseudoClips
from train.data.teacher import Teacher

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90, 64, 200, 15, 33)
PRIMARY = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)
KNOWN = 9  # recordings that the teacher knows, the first ones
MIXES: dict[str, dict[str, Any]] = {
    "mixup": {"probability": 0.3, "third": 0.3},
    "sumix": {"probability": 0.2},
    "cutmix": {"probability": 0.2},
}
CPU = torch.device("cpu")
Open = Callable[..., Teacher]


@pytest.fixture
def store(random_store: Callable[..., Store], view: MelView) -> Store:
    return random_store(LENGTHS, view)


@pytest.fixture
def examples(store: Store, examples_of: Callable[..., Examples]) -> Examples:
    return examples_of(store, PRIMARY, ((0, 1),))


@pytest.fixture(scope="module")
def theirs(random_store: Callable[..., Store], make_store: Callable[..., Store], view: MelView) -> Store:
    return teacher_store(make_store, random_store(LENGTHS, view), KNOWN)


@pytest.fixture
def mixed(recipe: Recipe) -> Recipe:
    changes = {"short": "loop", "batch_size": 6, "sampling": {"weighted": True, "clips_per_epoch": 120}}
    return resolve_recipe(recipe, {**changes, "augment": MIXES, "secondary": {"policy": "mask"}})


@pytest.fixture
def teach(
    monkeypatch: pytest.MonkeyPatch,
    theirs: Store,
    store: Store,
    examples: Examples,
    resolved: ResolvedMember,
    mixed: Recipe,
    params: Params,
) -> Open:
    """A function that opens the teacher with some keys, in a placement."""

    def make(placement: str = "host", recipe: Recipe = mixed, **keys: Any) -> Teacher:
        machine = params.machine.model_copy(update={"placement": placement})
        return opened(monkeypatch, [theirs], [store], examples, resolved, recipe, machine, CPU, **keys)

    return make


def whole_epoch(planner: Planner, epoch: int = 0) -> BatchPlan:
    (piece,) = planner.pieces(epoch)
    return piece


def slow_mean(theirs: Store, number: int, begin_s: float, end_s: float) -> Floats64:
    """Mean over the windows of a recording, each weighed by the time that it shares with the clip, in 10,000 steps."""
    (row,) = theirs.rows_of([f"{number:064x}"])
    values_WD = theirs.read(int(row)).astype(np.float64)
    moments = begin_s + (np.arange(10_000) + 0.5) * (end_s - begin_s) / 10_000
    shared_W = [
        np.mean((moments >= window * HOP_S) & (moments < window * HOP_S + WINDOW_S)) for window in range(len(values_WD))
    ]
    return np.asarray(np.array(shared_W) @ values_WD / np.sum(shared_W))


def slow_targets(plan: BatchPlan, clip: int, sound: int, store: Store, theirs: Store, clip_frames: int) -> Floats64:
    """The mean for one sound of a planned clip."""
    row, start, frames = (
        int(plan.row[clip, sound]),
        int(plan.start[clip, sound]),
        int(store.frames[plan.row[clip, sound]]),
    )
    number = int(store.audio_sha256[row], 16)
    begin = 0 if frames < clip_frames else start
    rate = store.view.sample_rate_hz / store.view.hop
    return slow_mean(theirs, number, begin / rate, (begin + min(frames, clip_frames)) / rate)


def numbers_of(store: Store, plan: BatchPlan, sound: int) -> list[int]:
    return [int(store.audio_sha256[row], 16) for row in plan.row[:, sound]]


def batches_of(
    store: Store, examples: Examples, recipe: Recipe, teacher: Teacher, full: bool = False
) -> TrainingBatches:
    normaliser = Normaliser(store.view, recipe, BinStatistics(torch.empty(0), torch.empty(0)))
    transform = BatchTransform(store.view, recipe, normaliser, CPU)
    transform.full = full
    planner = Planner(examples, store.view, recipe, teacher=teacher)
    return TrainingBatches(planner, HostFrames(store, CPU), transform)


def taught(batches: TrainingBatches, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """What the teacher says of all clips of an epoch, and their weights."""
    found = [batch.taught for batch, _ in batches.epoch(epoch)]
    values, weights = zip(*(each for each in found if each is not None), strict=True)
    return torch.cat(values), torch.cat(weights)


def test_a_clip_of_5_s_that_begins_at_2_s_has_three_fifths_of_the_first_window_of_5_s(
    teach: Open, store: Store
) -> None:
    teacher = teach(recipe=resolve_recipe(teach().recipe, {"clip_s": 5.0}))
    rate, row = teacher.frames_per_s, np.repeat(store.rows_of([f"{0:064x}"]), 3)
    teacher = replace(teacher, window_s=5.0, hop_s=5.0, windows=np.full(len(store), 3))
    begin = np.array([round(2 * rate), 0, round(10 * rate)])
    _, first, weights = teacher.covered(row, begin, begin + round(5 * rate))
    assert first.tolist() == [0, 0, 2]
    assert weights.shape == (3, 3)
    np.testing.assert_allclose(weights[0], [0.6, 0.4, 0], atol=0.003)  # frames are of 16 ms
    np.testing.assert_allclose(weights[1], [1, 0, 0], atol=0.003)
    np.testing.assert_allclose(weights[2], [1, 0, 0], atol=0.003)


@pytest.mark.parametrize("loss", ["cosine", "kl"])
def test_what_is_learnt_of_mixtures_is_the_mean_of_embeddings_by_power_or_the_union_of_scores(
    teach: Open, store: Store, theirs: Store, examples: Examples, mixed: Recipe, loss: str
) -> None:
    teacher = teach(loss=loss, weight=2.0)
    batches = batches_of(store, examples, mixed, teacher)
    plan, clip_frames = whole_epoch(batches.planner), batches.planner._clip_frames
    values, weight = taught(batches)
    partnered, span = plan.mixtures.partnered, plan.mixtures.span[:, 1]
    kinds = set()
    for clip, (own, other) in enumerate(zip(numbers_of(store, plan, 0), numbers_of(store, plan, 1), strict=True)):
        is_cut = 0 < span[clip] < clip_frames
        is_cut |= plan.mixtures.third[clip]
        counts = own < KNOWN and (other < KNOWN or not partnered[clip]) and not is_cut
        kinds.add((bool(partnered[clip]), bool(is_cut), counts))
        assert weight[clip] == 2.0 * counts
        if not counts:
            continue
        expected = slow_targets(plan, clip, 0, store, theirs, clip_frames)
        if partnered[clip]:
            beside, share = slow_targets(plan, clip, 1, store, theirs, clip_frames), plan.mixtures.share[clip]
            union, mean = np.maximum(expected, beside), share * expected + (1 - share) * beside
            expected = union if loss == "kl" else mean
        columns = slice(EMBEDDING, None) if loss == "kl" else slice(0, EMBEDDING)
        np.testing.assert_allclose(values[clip].numpy(), expected[columns], atol=2e-3)
    assert kinds >= {(False, False, True), (True, False, True), (True, True, False), (False, False, False)}


@pytest.mark.parametrize("loss", ["mse", "kl"])
def test_it_is_the_same_wherever_the_windows_lie(
    teach: Open, store: Store, examples: Examples, mixed: Recipe, loss: str
) -> None:
    expected = taught(batches_of(store, examples, mixed, teach(loss=loss)))
    for placement in ("stream", "device"):
        found = taught(batches_of(store, examples, mixed, teach(placement, loss=loss)))
        assert all(map(torch.equal, found, expected)), placement


def test_the_plan_of_an_epoch_has_one_shape_and_the_weight_of_the_epoch(
    teach: Open, store: Store, examples: Examples, mixed: Recipe
) -> None:
    longer = resolve_recipe(mixed, {"epochs": 8})
    teacher = teach(recipe=longer, weight=3.0, schedule="linear", until=0.5)
    planner = batches_of(store, examples, longer, teacher).planner
    plans = [whole_epoch(planner, epoch).teacher for epoch in range(8)]
    assert {plan.weights.shape for plan in plans} == {(120, 2, 5)}  # 0.64 s + a frame + 0.5 s, in steps of 0.25 s
    assert [float(plan.weight.max()) for plan in plans] == [3.0, 2.25, 1.5, 0.75, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", [2, 2, 2, 2, 0]), ("cosine", [2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5, 0])]
)
def test_the_weight_falls_as_its_schedule_says(schedule: str, expected: list[float]) -> None:
    params = TeacherParams.model_validate({"view": "birds", "weight": 2.0, "schedule": schedule, "until": 0.8})
    assert [params.weight_at(epoch, 5) for epoch in range(5)] == pytest.approx(expected)


def test_soft_labels_are_scores_and_labels_by_alpha_where_the_teacher_knows_class_and_recording(
    teach: Open, store: Store, theirs: Store, examples: Examples, mixed: Recipe
) -> None:
    """The teacher calls bird0 Bird Zero, does not know bird2, and recording 0 leaves bird1 out of the loss."""
    soft = {"alpha": 0.7, "power": 2.0, "threshold": 0.4}
    never = resolve_recipe(mixed, {"augment": {name: {"probability": 0.0} for name in MIXES}})
    teacher = teach(recipe=never, weight=0.0, soft=soft, labels={"bird0": "Bird Zero"})
    batches = batches_of(store, examples, never, teacher)
    assert batches._teacher is None
    plan, plain = whole_epoch(batches.planner), whole_epoch(Planner(examples, store.view, never))
    assert plan.teacher == ()
    np.testing.assert_array_equal(plan.weights, plain.weights)
    for clip, number in enumerate(numbers_of(store, plan, 0)):
        expected = plain.targets[clip].astype(np.float64)
        if number < KNOWN:
            scores = slow_targets(plan, clip, 0, store, theirs, batches.planner._clip_frames)[EMBEDDING:]
            for label, score in ((0, scores[2]), (1, scores[0])):
                if plain.weights[clip, label]:
                    taught = score**2 if score >= 0.4 else 0.0
                    expected[label] = 0.7 * taught + 0.3 * expected[label]
        np.testing.assert_allclose(plan.targets[clip], expected, atol=5e-3, err_msg=str(number))


def test_soft_labels_of_mixtures_are_mixed_as_labels_are(
    teach: Open, store: Store, theirs: Store, examples: Examples, mixed: Recipe
) -> None:
    changes = {
        "mixup": {"probability": 0.5, "third": 0.0},
        "sumix": {"probability": 0.0},
        "cutmix": {"probability": 0.5},
    }
    always = resolve_recipe(mixed, {"augment": changes})
    planner = Planner(examples, store.view, always, teacher=teach(recipe=always, weight=0.0, soft={"alpha": 1.0}))
    plan, seen = whole_epoch(planner), 0
    for clip, numbers in enumerate(zip(numbers_of(store, plan, 0), numbers_of(store, plan, 1), strict=True)):
        if 0 not in numbers and max(numbers) < KNOWN:  # recording 0 leaves bird1 out
            scores = [
                slow_targets(plan, clip, sound, store, theirs, planner._clip_frames)[EMBEDDING] for sound in (0, 1)
            ]
            share = plan.mixtures.share[clip]
            assert plan.targets[clip, 1] == pytest.approx(share * scores[0] + (1 - share) * scores[1], abs=5e-3)
            seen += 1
    assert seen > 40


def test_soundscapes_are_taught_of_their_own_store_and_keep_their_truth(
    monkeypatch: pytest.MonkeyPatch,
    make_store: Callable[..., Store],
    theirs: Store,
    store: Store,
    examples: Examples,
    resolved: ResolvedMember,
    mixed: Recipe,
    params: Params,
) -> None:
    """A noisy student's partner is a clip of a soundscape, with a label of 0.25 that stays; half of each is heard."""
    rng = np.random.default_rng(5)
    soundscapes = make_store([rng.uniform(-100, 40, (300, 32)).astype(np.float32) for _ in range(3)], store.view)
    of_soundscapes = teacher_store(make_store, soundscapes, 2)
    never = resolve_recipe(mixed, {"augment": {name: {"probability": 0.0} for name in MIXES}})
    both, own, keys = [theirs, of_soundscapes], [store, soundscapes], {"soft": {"alpha": 1.0}}
    of_training = examples, resolved, never, params.machine, CPU
    teacher = opened(monkeypatch, both, own, *of_training, **keys)  # type: ignore[arg-type]
    labels, rows = np.full((3, 3), 0.25, np.float32), np.arange(3)
    pseudo = PseudoClips(rows, soundscapes.frames, np.full(3, 100), labels, np.ones(3), 1.0, 0.5).offset(len(store))
    planner = Planner(examples, store.view, never, pseudo=pseudo, teacher=teacher)
    plan = whole_epoch(planner)
    frames = ConcatFrames(HostFrames(store, CPU), HostFrames(soundscapes, CPU), len(store))
    normaliser = Normaliser(store.view, never, BinStatistics(torch.empty(0), torch.empty(0)))
    values, weight = taught(TrainingBatches(planner, frames, BatchTransform(store.view, never, normaliser, CPU)))
    rate, seen = store.view.sample_rate_hz / store.view.hop, 0
    for clip, number in enumerate(numbers_of(store, plan, 0)):
        other = int(soundscapes.audio_sha256[plan.row[clip, 1] - len(store)], 16)
        assert weight[clip] == (number < KNOWN and other < 2)
        if weight[clip]:
            mine = slow_targets(plan, clip, 0, store, theirs, planner._clip_frames)
            beside = slow_mean(of_soundscapes, other, 100 / rate, (100 + planner._clip_frames) / rate)
            np.testing.assert_allclose(values[clip].numpy(), (mine + beside)[:EMBEDDING] / 2, atol=2e-3)
            score = mine[EMBEDDING] if number else 0.0  # recording 0 leaves bird1 out
            assert plan.targets[clip, 1] == pytest.approx(max(score, 0.25), abs=5e-3)
            seen += 1
    assert seen > 40
    truth = np.full((2, 3), 0.25, np.float32)
    teacher.soften_(len(store) + np.arange(2), np.zeros(2, np.int64), np.full(2, 40), truth, np.ones_like(truth))
    assert (truth == 0.25).all(), "as of labelled windows"


def test_recordings_that_the_teacher_does_not_know_are_told_once(
    teach: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    teach()
    assert capsys.readouterr().out.splitlines()[-1] == (
        "teacher birds: 3 of 12 recordings are not in its store and learn from their labels alone"
    )


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"soft": {"alpha": 0.5}, "labels": {"bird0": "nobody"}}, "the teacher knows no bird0: nobody, but bird1, owl"),
        ({"soft": {"alpha": 0.5}, "labels": {"bird9": "owl"}}, "the teacher knows no bird9: owl, but bird1, owl"),
    ],
)
def test_labels_that_are_no_pair_are_refused(teach: Open, keys: dict[str, Any], why: str) -> None:
    with pytest.raises(TrainError, match=why):
        teach(**keys)
