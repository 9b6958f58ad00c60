"""Labelled windows of soundscapes in training and judging: which, where their clips lie, and what is heard in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe, merged, resolve_recipe
from birdcache.params.views import MelView
from cache import tables
from cache.store import Store
from tests.fixtures.windows import write_windows
from tests.train.small import small_model
from train.augment.batch import BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import BatchPlan, Planner
from train.data.dataset import Dataset, OpenStores
from train.data.examples import SILENCE, Examples
from train.data.frames import HostFrames
from train.data.member import ResolvedMember
from train.data.multi_view import ConcatFrames
from train.data.random import Purpose, uniform
from train.data.sampling import Sampler
from train.data.windows import read_windows
from train.loop.distributed import ALONE
from train.loop.split import TrainingSplit, split_dataset
from train.loop.trainer import Trainer
from train.loop.validation import check_windows, split_lines
from train.score.metrics import window_metrics

LENGTHS = (700, 300, 40, 39, 41, 60, 520, 90, 64)
PRIMARY = (0, 0, 0, 1, 1, 1, 2, 2, 2)
SOUNDSCAPES = (500, 300, 400)  # frames; a clip is one of 40
LABELS = ("bird0", "bird1", "bird2")
RATE = 62.5  # frames a second
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 0.8 s (50 frames): all of `dawn` (fold 0) and of `dusk` (fold 1), one of `noon` (in no fold)."""
    monkeypatch.chdir(tmp_path)
    dawn = ["bird0", "", "bird0 bird2", "bird1", "", "", "bird2", "", "", ""]
    dusk = ["bird1", "bird1", "", "", "bird0", "bird2"]
    windows = [("dawn", 0.8 * n, 0.8 * n + 0.8, heard) for n, heard in enumerate(dawn)]
    windows += [("dusk", 0.8 * n, 0.8 * n + 0.8, heard) for n, heard in enumerate(dusk)]
    windows += [("noon", 1.6, 2.4, "bird1")]
    write_windows(windows, {"dawn": 0, "dusk": 1, "noon": -1})


@pytest.fixture
def soundscapes(random_store: Callable[..., Store], view: MelView) -> Store:
    return random_store(SOUNDSCAPES, view)


@pytest.fixture
def store(random_store: Callable[..., Store], view: MelView) -> Store:
    return random_store(LENGTHS, view)


@pytest.fixture
def examples(store: Store, examples_of: Callable[..., Examples]) -> Examples:
    return examples_of(store, PRIMARY)


def taught(soundscapes: Store, clip_frames: int = 40) -> Examples:
    return read_windows(soundscapes, LABELS, clip_frames, len(LENGTHS))[0]


def whole_epoch(planner: Planner, epoch: int = 0) -> BatchPlan:
    (plan,) = planner.pieces(epoch)
    return plan


def planner_of(examples: Examples, windows: Examples, view: MelView, recipe: Recipe, share: float) -> Planner:
    changes = {"clips_per_epoch": 4000, "shares": {"recordings": 1 - share, "soundscapes": share}}
    return Planner(examples, view, resolve_recipe(recipe, {"sampling": changes}), windows=windows)


def test_windows_are_read_in_order_with_what_is_heard_and_where_a_clip_may_lie(soundscapes: Store) -> None:
    windows, judged, folds = read_windows(soundscapes, LABELS, 40, 9)
    dawn, dusk, noon = soundscapes.rows_of([f"{number:064x}" for number in range(3)])
    order = np.lexsort((windows.first, windows.rows))
    assert order.tolist() == list(range(17))
    of = {name: np.array(windows.names) == name for name in ("dawn", "dusk", "noon")}
    assert [set(windows.rows[of[name]]) for name in of] == [{dawn + 9}, {dusk + 9}, {noon + 9}]
    assert [set(folds[of[name]]) for name in of] == [{0}, {1}, {-1}]
    assert windows.secondary[of["dawn"]].astype(int)[:4].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert windows.first[of["dawn"]].tolist() == list(range(0, 500, 50))
    assert set(windows.frames) == {50}, "a window is longer than a clip, which lies in it"
    assert judged.rows[of["noon"]].tolist() == [noon]
    assert np.array(judged.names)[of["noon"]].tolist() == ["noon 1.6 2.4"]
    assert len(set(judged.names)) == 17, "each has a name of its own"
    assert (judged.first[of["noon"]][0], judged.frames[of["noon"]][0]) == (105, 40), "around its middle"


def test_a_longer_clip_holds_its_window_and_leaves_the_labelled_time_never(soundscapes: Store) -> None:
    windows, judged, _ = read_windows(soundscapes, LABELS, 120, 0)
    dawn = np.array(windows.names) == "dawn"
    assert windows.first[dawn][[0, 1, 4, 9]].tolist() == [0, 0, 130, 380]
    assert (windows.first + windows.frames)[dawn][[0, 1, 4, 9]].tolist() == [120, 170, 320, 500]
    noon = np.array(windows.names) == "noon"
    assert (windows.first[noon][0], windows.frames[noon][0]) == (100, 50), "shorter than a clip, as a short recording"
    assert judged.first[dawn][[0, 4, 9]].tolist() == [0, 165, 380], "moved inside the soundscape at its ends"
    assert set(judged.frames) == {120}


def test_the_share_of_clips_are_windows_with_all_that_is_heard_and_the_others_as_they_were(
    soundscapes: Store, examples: Examples, view: MelView, recipe: Recipe
) -> None:
    windows = taught(soundscapes)
    plan = whole_epoch(planner_of(examples, windows, view, recipe, 0.25))
    plain = whole_epoch(Planner(examples, view, resolve_recipe(recipe, {"sampling": {"clips_per_epoch": 4000}})))
    is_window = plan.row[:, 0] >= len(LENGTHS)
    expected = uniform(recipe.seed, 0, np.arange(4000), Purpose.WINDOW)[:, 0] < 0.25
    assert np.array_equal(is_window, expected)
    assert 0.22 < is_window.mean() < 0.28
    for ours, theirs in zip(plan[:4], plain[:4], strict=True):
        assert np.array_equal(ours[~is_window, 0], theirs[~is_window, 0])
    assert np.array_equal(plan.targets[~is_window], plain.targets[~is_window])
    number = {(row, first): place for place, (row, first) in enumerate(zip(windows.rows, windows.first, strict=True))}
    drawn = [number[pair] for pair in zip(plan.row[is_window, 0], plan.first[is_window, 0], strict=True)]
    assert set(drawn) == set(range(17)), "each is drawn, silent ones too"
    assert np.array_equal(plan.targets[is_window], windows.secondary[drawn])
    assert (plan.weights[is_window] == 1).all(), "what is not heard counts against a class"
    assert (plan.importance[is_window] == 1).all()
    assert set(plan.start[is_window, 0]) == set(range(11)), "anywhere in the window"


def test_targets_of_a_longer_clip_are_those_of_all_windows_of_which_half_lies_in_it(
    soundscapes: Store, examples: Examples, view: MelView, recipe: Recipe
) -> None:
    longer = resolve_recipe(recipe, {"clip_s": 120 / RATE})
    windows = taught(soundscapes, 120)
    planner = planner_of(examples, windows, view, longer, 0.5)
    plan = whole_epoch(planner)
    dawn = plan.row[:, 0] == windows.rows[list(windows.names).index("dawn")]
    heard = windows.secondary[np.array(windows.names) == "dawn"]
    begin = (plan.first + plan.start)[:, 0]
    first = np.arange(0, 500, 50)
    for clip in np.flatnonzero(dawn)[:200]:
        overlap = np.minimum(first + 50, begin[clip] + 120) - np.maximum(first, begin[clip])
        present, touched = heard[overlap >= 25].any(axis=0), heard[overlap > 0].any(axis=0)
        assert np.array_equal(plan.targets[clip], present)
        assert np.array_equal(plan.weights[clip] == 0, touched & ~present), "half of none of its windows: left out"
    assert (begin[dawn] >= 0).all()
    assert (begin[dawn] + 120 <= 500).all()


LOUD = {
    "gain_db": 6.0,
    "time_shift_s": 0.2,
    "mixup": {"probability": 0.9, "third": 0.5},
    "eq": {"probability": 1.0},
    "noise": {"probability": 1.0},
    "spec_augment": {"mel_width": 8, "time_width": 8, "probability": 1.0},
    "mixstyle": {"probability": 1.0},
    "reverse": {"probability": 1.0},
    "distance": {"probability": 1.0},
    "tempo": {"probability": 1.0},
}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_rest_of_the_clips_on_windows_stays_as_it_is_and_all_others_are_as_without_the_key(
    soundscapes: Store, examples: Examples, view: MelView, recipe: Recipe, share: float
) -> None:
    windows = taught(soundscapes)
    plain, all_of_them, some = (
        whole_epoch(planner_of(examples, windows, view, resolve_recipe(recipe, {"augment": augment}), 0.5))
        for augment in ({}, LOUD, LOUD | {"windows": share})
    )
    drawn = uniform(recipe.seed, 0, np.arange(4000), Purpose.PLAIN)[:, 0]
    is_plain = (plain.row[:, 0] >= len(LENGTHS)) & (drawn >= share)
    assert abs(is_plain.mean() - 0.5 * (1 - share)) < 0.05
    assert all_of_them.effects.tone_db[is_plain].any()
    effects = some.effects
    masks = effects.mel_masks.width, effects.time_masks.width
    tones, presented = (effects.tone_db, effects.muffled), (effects.tempo, effects.style, effects.reverse)
    for nothing in (*tones, effects.shift, effects.added, *masks, *presented):
        assert not nothing[is_plain].any()
    assert (
        effects.weights[is_plain].tolist() == some.mixtures.weights[is_plain].tolist() == [[1, 0, 0]] * is_plain.sum()
    )
    assert not some.has[is_plain, 1:].any()
    assert np.array_equal(some.targets[is_plain], plain.targets[is_plain])
    for one, other in zip(leaves(some), leaves(all_of_them), strict=True):
        assert np.array_equal(one[~is_plain], other[~is_plain])
        assert one.dtype == other.dtype


NEVER = {"probability": 0.0}
WEAKER: dict[str, Any] = {
    "gain_db": 0.0, "time_shift_s": 0.05, "mixup": {"probability": 0.2, "alpha": 2.0}, "eq": NEVER,
    "noise": {"probability": 0.5, "lowest_snr_db": 15.0}, "spec_augment": {"mel_width": 2, "probability": 0.5},
}  # fmt: skip
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what windows get on top of the same of all clips
    "weaker": (LOUD, WEAKER),
    "off": (LOUD, {"gain_db": 0.0, "mixup": NEVER, "eq": NEVER, "noise": NEVER, "spec_augment": NEVER}),
    "on": ({}, LOUD),
    "backwards": ({}, {"reverse": {"probability": 0.5}}),
    "muffled": ({"gain_db": 3.0}, {"lowpass": {"probability": 0.5}}),
    "shorter": ({}, {"shorter": {"probability": 0.6, "clip_s": 0.3}}),
    "slower": (LOUD, {"tempo": {"most": 0.3}}),
    "filters": (LOUD | {"eq": NEVER | {"fewest_bands": 2}}, {"eq": {"probability": 0.9}}),
    "background": (LOUD, {"background": {"probability": 0.5, "label": "bird2"}}),
    "another way": ({"mixup": {"probability": 0.5}}, {"mixup": NEVER, "cutmix": {"probability": 0.7}}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_clips_on_windows_are_drawn_as_by_a_recipe_of_their_own_and_all_others_as_without_it(
    soundscapes: Store, examples: Examples, view: MelView, recipe: Recipe, case: str
) -> None:
    base, over = OTHERS[case]
    label: dict[str, Any] = {"background": {"label": "bird2"}}
    common, own, both = (
        whole_epoch(planner_of(examples, taught(soundscapes), view, resolve_recipe(recipe, {"augment": augment}), 0.5))
        for augment in (label | base, merged(label | base, over), label | base | {"windows_override": over})
    )
    is_window = both.row[:, 0] >= len(LENGTHS)
    assert 0.45 < is_window.mean() < 0.55
    for rows, expected in ((is_window, own), (~is_window, common)):
        for found, wanted in zip(leaves(present(both)), leaves(present(expected)), strict=True):
            assert found.dtype == wanted.dtype
            there = tuple(map(slice, wanted.shape[1:]))
            assert np.array_equal(found[rows][:, *there], wanted[rows])
            assert np.count_nonzero(found[rows]) == np.count_nonzero(wanted[rows]), "what is more is 0"
    assert any(
        one.shape != other.shape or not np.array_equal(one, other)
        for one, other in zip(leaves(common), leaves(own), strict=True)
    )


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("full", [False, True])
def test_images_of_windows_are_those_of_a_recipe_of_their_own(
    soundscapes: Store, store: Store, examples: Examples, view: MelView, recipe: Recipe, case: str, full: bool
) -> None:
    """With `full`, in the shapes of a GPU. Without mixstyle, which takes something of the clip before in the batch."""
    base, over = ({key: value for key, value in each.items() if key != "mixstyle"} for each in OTHERS[case])
    windows, label = taught(soundscapes), dict[str, Any](background={"label": "bird2"})
    frames = ConcatFrames(HostFrames(store, CPU), HostFrames(soundscapes, CPU), len(LENGTHS))
    nothing = BinStatistics(*torch.zeros(2, view.n_mels))
    images = []
    for augment in (label | base, merged(label | base, over), label | base | {"windows_override": over}):
        changed = resolve_recipe(recipe, {"augment": augment, "normalise": "clip"})
        transform = BatchTransform(view, changed, Normaliser(view, changed, nothing), CPU)
        transform.full |= full
        batches = TrainingBatches(planner_of(examples, windows, view, changed, 0.5), frames, transform)
        planner = batches.planner
        plan = planner.plan(0, np.arange(64), planner.sampler.epoch(0))
        images.append(transform(*batches.read(plan)).clips)
    is_window = torch.from_numpy(plan.row[:, 0] >= len(LENGTHS))
    common, own, both = images
    torch.testing.assert_close(both[is_window], own[is_window], atol=1e-4, rtol=0)
    torch.testing.assert_close(both[~is_window], common[~is_window], atol=1e-4, rtol=0)
    assert not torch.allclose(own[is_window], common[is_window], atol=1e-2)


def present(plan: BatchPlan) -> BatchPlan:
    """A plan without the places of sounds that clips lack."""
    return plan._replace(row=plan.row * plan.has, first=plan.first * plan.has, start=plan.start * plan.has)


def leaves(columns: tuple[Any, ...]) -> list[Any]:
    """All arrays of nested tuples."""
    return [leaf for each in columns for leaf in (leaves(each) if isinstance(each, tuple) else [each])]


def test_silence_is_heard_in_no_clip(soundscapes: Store) -> None:
    events = taught(soundscapes).events
    assert events is not None
    assert (events.label == SILENCE).sum() == 8
    row = np.unique(events.row)[:1]
    annotated, present, unsure = events.heard(row, np.array([50]), np.array([90]), 3)
    assert annotated.all()
    assert not present.any()
    assert not unsure.any()


def test_weighted_windows_are_drawn_by_the_rarest_class_heard(recipe: Recipe) -> None:
    heard = np.array([[1, 0], [1, 0], [1, 1], [1, 0], [0, 0], [0, 0]], bool)
    expected = {(False, 0.5): [1.0] * 6, (True, 1.0): [1, 1, 3, 1, 1.5, 1.5], (True, 0.0): [1.0] * 6}
    for (weighted, exponent), weights in expected.items():
        changes = {"weighted": weighted, "exponent": exponent, "shares": {"recordings": 0.0, "soundscapes": 1.0}}
        params = resolve_recipe(recipe, {"sampling": changes}).sampling
        sampler, index = Sampler(np.zeros(3, np.int64), np.zeros(3, np.int64), params, 1, None, heard), np.arange(6000)
        drawn = sampler.examples(0, sampler.epoch(0), index) - 3
        assert np.bincount(drawn) / 6000 == pytest.approx(np.array(weights) / sum(weights), abs=0.03)


@pytest.fixture
def split(
    store: Store,
    soundscapes: Store,
    examples: Examples,
    resolved: ResolvedMember,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[int], TrainingSplit]:
    """A function that splits recordings and windows by a fold; half of the clips are windows."""

    def make(fold: int) -> TrainingSplit:
        shares = {"sampling": {"clips_per_epoch": 400, "shares": {"recordings": 0.5, "soundscapes": 0.5}}}
        member = resolved.model_copy(update={"recipe": resolve_recipe(recipe, shares)})
        monkeypatch.setattr("train.data.dataset.with_annotated_times", lambda examples, *_: examples)  # of no table
        frames, others = HostFrames(store, CPU), OpenStores((soundscapes,), HostFrames(soundscapes, CPU), "")
        windows, held = read_windows(soundscapes, LABELS, 40, len(LENGTHS)), np.arange(9) % 3
        dataset = Dataset((store,), frames, "", member, examples, held, others, windows)
        return split_dataset(dataset, fold, CPU, ALONE)

    return make


@pytest.mark.parametrize("fold", [0, 1])
def test_no_window_of_a_held_out_soundscape_is_in_a_batch_and_clips_are_what_the_store_holds(
    split: Callable[[int], TrainingSplit], soundscapes: Store, fold: int
) -> None:
    training = split(fold)
    batches = training.batches(training.model())
    plan = whole_epoch(batches.planner)
    rows = soundscapes.rows_of([f"{number:064x}" for number in range(3)]) + len(LENGTHS)
    seen = set(plan.row[plan.has].tolist()) - set(range(len(LENGTHS)))
    assert seen == {rows[1 - fold], rows[2]}
    values, inputs = batches.read(plan)
    clip = int(np.flatnonzero(plan.row[:, 0] == rows[2])[0])
    begin = plan.first[clip, 0] + plan.start[clip, 0]
    expected = soundscapes.read(int(rows[2]) - len(LENGTHS))[begin : begin + 40]
    assert np.array_equal(values[clip].numpy(), expected)
    assert inputs.targets[clip].tolist() == [0, 1, 0]


def test_windows_of_the_held_out_soundscape_are_judged_by_a_clip_around_each(
    split: Callable[[int], TrainingSplit], soundscapes: Store
) -> None:
    validation, model = split(0).validation(), small_model(mel_bins=32)
    metrics = validation.metrics(model)
    assert validation.windows is not None
    scores, _ = validation.windows.predict(model)
    row = int(soundscapes.rows_of([f"{0:064x}"])[0])
    frames = soundscapes.read(row)
    clips = np.stack([frames[50 * n + 5 : 50 * n + 45].T for n in range(10)])
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(clips)[:, None]).clip.softmax(dim=1).numpy()
    assert scores == pytest.approx(expected, abs=1e-5)
    heard = np.zeros((10, 3), bool)
    heard[[0, 2, 3, 2, 6], [0, 0, 1, 2, 2]] = True
    for name, value in window_metrics(heard, expected).items():
        assert metrics[f"windows.{name}"] == pytest.approx(value)


def test_windows_are_judged_on_the_classes_that_a_member_is_for(split: Callable[[int], TrainingSplit]) -> None:
    validation, model = split(0).validation(), small_model(mel_bins=32)
    assert validation.windows is not None
    examples = validation.windows.examples.knowing(np.array([True, False, True]))
    metrics = replace(validation, windows=replace(validation.windows, examples=examples)).metrics(model)
    scores, _ = validation.windows.predict(model)
    for name, value in window_metrics(examples.secondary[:, [0, 2]], scores[:, [0, 2]]).items():
        assert metrics[f"windows.{name}"] == pytest.approx(value)


def test_progress_counts_the_clips_of_windows_too(split: Callable[[int], TrainingSplit]) -> None:
    training, counted = split(0), list[int]()
    validation, model = training.validation(), training.model()
    trainer = Trainer(model, training.batches(model), training.member.recipe, CPU)
    _, total = trainer.clips(validation)
    assert len(list(trainer.run(validation, advance=counted.append))) == 2
    assert sum(counted) == total == 2 * (400 + len(validation.clips) + 10)


def test_another_table_of_windows_is_another_training(split: Callable[[int], TrainingSplit]) -> None:
    before = split(0).fingerprint()
    assert split(0).fingerprint() == before
    table = tables.WINDOWS.read()
    table.loc[12, "labels"] = "bird0"
    tables.WINDOWS.write(table)
    changed = split(0).fingerprint()
    assert {key for key in before if before[key] != changed[key]} == {"windows of soundscapes"}


def test_a_share_without_windows_and_judges_that_cannot_judge_are_refused(soundscapes: Store, recipe: Recipe) -> None:
    windows, judged, _ = read_windows(soundscapes, LABELS, 40, 0)
    shared = resolve_recipe(recipe, {"sampling": {"shares": {"soundscapes": 0.1}}})
    check_windows("tiny", 0, windows, judged, shared)
    for none in (None, windows.subset(np.zeros(17, bool))):
        with pytest.raises(TrainError, match=r"tiny-0: no labelled .* data.soundscape_labels, or set sampling.shares"):
            check_windows("tiny", 0, none, judged, shared)
    noon = judged.subset([name.startswith("noon") for name in judged.names])
    for judge in ("windows", "both"):
        judging = resolve_recipe(recipe, {"judge": judge})
        check_windows("tiny", 0, windows, judged, judging)
        for none in (None, noon):
            with pytest.raises(TrainError, match=r"tiny-0: no class is heard .* or set judge: recordings"):
                check_windows("tiny", 0, windows, none, judging)


def test_lines_tell_of_windows_and_a_class_that_only_they_hold_is_learnt(
    soundscapes: Store, examples: Examples, recipe: Recipe
) -> None:
    windows, some = taught(soundscapes), examples.subset(examples.primary < 2)
    shared = resolve_recipe(recipe, {"sampling": {"shares": {"recordings": 0.8, "soundscapes": 0.2}}})
    lines = list(split_lines(some, examples, shared, windows))
    assert "20% of the clips are 17 labelled windows of 3 soundscapes" in lines
    assert not [line for line in lines if "cannot be learned" in line]
    assert [line for line in split_lines(some, examples, recipe, windows) if "no recording of bird2" in line]


def test_a_row_tells_its_recording_and_labels_or_its_soundscape(split: Callable[[int], TrainingSplit]) -> None:
    one = split(0)
    row, primary = int(one.trained.rows[1]), one.trained.labels[one.trained.primary[1]]
    name, (first, *others) = one.told(row)
    assert (name, first) == (one.trained.names[1], primary)
    assert set(others) == {
        label for label, held in zip(one.trained.labels, one.trained.secondary[1], strict=True) if held
    }
    assert one.windows is not None
    assert {one.told(window)[0] for window in one.windows.rows} == set(one.windows.names)
    assert one.told(int(one.windows.rows[0]))[1] == []
    assert one.told(10**6) == ("a soundscape", [])
