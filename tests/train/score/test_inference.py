"""Which clips are scored, and that a score does not depend on its company."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from birdcache.arrays import Floats32, Ints
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from birdcache.predict.postprocess import windows_in
from cache.store import Store
from train.data.examples import Examples
from train.data.frames import ArrayFrames, DeviceFrames, HostFrames, Uploaded
from train.loop.validation import Validation
from train.model.classifier import Classifier, build_model
from train.score.inference import ClipList, Scorer, clips_at, covering_clips

MEL_BINS = 32
LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90)
RandomStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]


@pytest.fixture
def store(random_store: RandomStore, view: MelView) -> Store:
    return random_store(LENGTHS, view)


@pytest.fixture
def model(member: Member) -> Classifier:
    torch.manual_seed(4)
    return build_model(member, 3, MEL_BINS, pretrained=False)


class Loudest(nn.Module):
    """Logits of three classes that a reader can follow: loudest value, softest value, and zero."""

    def forward(self, clips: Tensor) -> Tensor:
        loudest, softest = clips.amax(dim=(1, 2, 3)), clips.amin(dim=(1, 2, 3))
        return torch.stack([loudest, softest, torch.zeros_like(loudest)], dim=1)


def loudest() -> Classifier:
    return Classifier(Loudest(), MEL_BINS)


def test_covering_clips_belong_to_their_recordings(examples: Examples) -> None:
    three = replace(examples.subset([0, 1, 2]), rows=np.array([7, 5, 6]), frames=np.array([100, 40, 3]))
    clips = covering_clips(replace(three, first=np.array([0, 9, 2])), 40)
    assert clips.owner.tolist() == [0, 0, 0, 1, 2]
    assert clips.row.tolist() == [7, 7, 7, 5, 6]
    assert clips.first.tolist() == [0, 0, 0, 9, 2]
    assert clips.frames.tolist() == [100, 100, 100, 40, 3]
    assert clips.start.tolist() == [0, 40, 60, 0, 0]


@pytest.mark.parametrize(
    ("duration_s", "windows"), [(60, 12), (5, 1), (0.2, 1), (5.4, 1), (5.6, 2), (10, 2), (10.01, 2), (14.9, 3)]
)
def test_windows_cover_a_recording_but_for_a_tenth_of_a_window(duration_s: float, windows: int) -> None:
    assert windows_in(duration_s, 5.0) == windows


@pytest.mark.parametrize("clip_frames", [40, 313, 626])
def test_clips_are_centred_on_their_windows_where_the_recording_allows(view: MelView, clip_frames: int) -> None:
    """Sixty seconds, windows of five, clips shorter than, as long as, and longer than a window."""
    frames = 3751
    clips = window_clips(4, frames, 12, view, 5.0, clip_frames)
    assert clips.start.min() >= 0
    assert (clips.start + clip_frames).max() <= frames
    assert set(clips.row.tolist()) == {4}
    assert clips.owner.tolist() == list(range(12))
    for number, start in enumerate(clips.start.tolist()):
        middle = (number + 0.5) * 5 * 62.5
        wanted = middle - clip_frames / 2
        assert abs(start - wanted) <= 0.5 or start == min(max(wanted, 0), frames - clip_frames)


def test_windows_of_a_recording_shorter_than_a_clip_begin_with_it(view: MelView) -> None:
    assert window_clips(0, 30, 2, view, 0.25, 40).start.tolist() == [0, 0]


@pytest.fixture
def examples(store: Store, examples_of: ExamplesOf) -> Examples:
    return examples_of(store, (0, 1, 2, 0, 1, 2, 0, 1), ((0, 1),))


@pytest.fixture
def clips(examples: Examples) -> ClipList:
    return covering_clips(examples, 40)


def window_clips(row: int, frames: int, windows: int, view: MelView, window_s: float, clip_frames: int) -> ClipList:
    """Clips centred on windows."""
    return clips_at(np.arange(0.5, windows) * window_s, row, frames, view, clip_frames)


def scorer(model: Classifier, store: Store, recipe: Recipe) -> Scorer:
    cpu = torch.device("cpu")
    return Scorer(model, HostFrames(store, cpu), store.view, recipe, cpu)


def logits_of(scorer: Scorer, clips: ClipList) -> Floats32:
    return torch.cat([logits.clip for logits in scorer.logits(clips, 4)]).numpy()


def test_a_model_sees_the_stored_frames_of_its_clips(store: Store, recipe: Recipe, clips: ClipList) -> None:
    logits = logits_of(scorer(loudest(), store, recipe), clips)
    for row, start, found in zip(clips.row, clips.start, logits, strict=True):
        recording = store.read(int(row))[int(start) : int(start) + 40]
        softest = recording.min() if len(recording) == 40 else store.quantizer.low
        assert found.tolist() == [recording.max(), softest, 0]


def test_a_short_recording_is_repeated_when_the_recipe_says_so(store: Store, recipe: Recipe, clips: ClipList) -> None:
    logits = logits_of(scorer(loudest(), store, resolve_recipe(recipe, {"short": "loop"})), clips)
    for row, start, found in zip(clips.row, clips.start, logits, strict=True):
        recording = store.read(int(row))[int(start) : int(start) + 40]
        assert found.tolist() == [recording.max(), recording.min(), 0]


class Beginning(nn.Module):
    """Logits of three classes: the lowest bin's first value, its last one, and zero."""

    def forward(self, clips: Tensor) -> Tensor:
        return torch.stack([clips[:, 0, 0, 0], clips[:, 0, 0, -1], torch.zeros(len(clips))], dim=1)


@pytest.mark.parametrize("rolls", [1, 2, 3, 4])
def test_a_clip_is_heard_again_rolled_on_by_equal_parts(
    store: Store, recipe: Recipe, clips: ClipList, rolls: int
) -> None:
    rolling = resolve_recipe(recipe, {"rolls": rolls, "short": "loop"})
    logits = logits_of(scorer(Classifier(Beginning(), MEL_BINS), store, rolling), clips)
    steps = [40 * number // rolls for number in range(rolls)]
    for row, start, found in zip(clips.row, clips.start, logits, strict=True):
        clip_T = np.resize(store.read(int(row))[int(start) : int(start) + 40, 0], 40)  # repeated, if it is short
        wanted = [np.mean([clip_T[(place - step) % 40] for step in steps]) for place in (0, 39)]
        assert found == pytest.approx([*wanted, 0], rel=1e-5)


@pytest.mark.parametrize("kind", ["ce", "bce"])
def test_scores_do_not_depend_on_the_batch_size(
    store: Store, recipe: Recipe, clips: ClipList, model: Classifier, kind: str
) -> None:
    chosen = resolve_recipe(recipe, {"loss": {"kind": kind}, "normalise": "clip"})
    alone, together = (scorer(model, store, chosen).scores(clips, size) for size in (1, 64))
    assert alone.shape == (len(clips.row), 3)
    assert alone == pytest.approx(together, abs=1e-5)
    assert ((alone >= 0) & (alone <= 1)).all()


def test_scores_do_not_depend_on_the_placement(
    store: Store, recipe: Recipe, clips: ClipList, model: Classifier, cpu: torch.device
) -> None:
    host, device = (
        Scorer(model, frames(store, cpu), store.view, recipe, cpu).scores(clips, 8)
        for frames in (HostFrames, DeviceFrames)
    )
    assert np.array_equal(host, device)


def test_a_recording_in_memory_scores_like_the_stored_one(
    store: Store, recipe: Recipe, view: MelView, model: Classifier, cpu: torch.device
) -> None:
    row = int(store.rows_of([f"{0:064x}"])[0])
    stored = scorer(model, store, recipe).scores(window_clips(row, 700, 4, view, 2.8, 40), 8)
    array = ArrayFrames(store.quantizer.encode(store.read(row)), store.quantizer, cpu)
    in_memory = Scorer(model, array, view, recipe, cpu).scores(window_clips(0, 700, 4, view, 2.8, 40), 8)
    assert np.array_equal(stored, in_memory)


def test_scoring_leaves_no_gradients_and_uses_the_model_as_trained(
    store: Store, recipe: Recipe, clips: ClipList, model: Classifier
) -> None:
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = next(scorer(model, store, recipe).logits(clips, 4))
    assert not logits.clip.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class CountedFrames(HostFrames):
    """Frames that count the batches that were staged."""

    staged = 0

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        self.staged += 1
        return super().stage(row_B, position_BT)


def test_later_batches_are_read_while_the_model_computes(
    store: Store, recipe: Recipe, clips: ClipList, model: Classifier, cpu: torch.device
) -> None:
    frames = CountedFrames(store, cpu)
    logits = Scorer(model, frames, store.view, recipe, cpu).logits(clips, 4)
    next(logits)
    deadline = time.monotonic() + 10
    while frames.staged < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def validation(store: Store, examples: Examples, recipe: Recipe) -> Validation:
    cpu = torch.device("cpu")
    return Validation(examples, HostFrames(store, cpu), store.view, recipe, cpu, batch_size=4)


def test_a_recording_scores_the_mean_of_the_clips_that_cover_it(
    store: Store, recipe: Recipe, examples: Examples, model: Classifier
) -> None:
    found, _ = validation(store, examples, recipe).predict(model)
    clips = covering_clips(examples, 40)
    per_clip = scorer(model, store, recipe).scores(clips, 64)
    for number in range(len(examples)):
        assert found[number] == pytest.approx(per_clip[clips.owner == number].mean(axis=0), abs=1e-6)


def test_the_validation_loss_is_the_mean_over_clips_against_unsmoothed_targets(
    store: Store, recipe: Recipe, examples: Examples, model: Classifier
) -> None:
    smoothed = resolve_recipe(recipe, {"loss": {"label_smoothing": 0.3}})
    _, loss = validation(store, examples, smoothed).predict(model)
    clips = covering_clips(examples, 40)
    shares = scorer(model, store, recipe).scores(clips, 64)
    expected = -np.log(shares[np.arange(len(shares)), examples.primary[clips.owner]]).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_validation_reports_loss_and_metrics(
    store: Store, recipe: Recipe, examples: Examples, model: Classifier
) -> None:
    metrics = validation(store, examples, recipe).metrics(model)
    assert set(metrics) == {"loss", "accuracy", "macro_roc_auc", "classes_scored", "cmap", "macro_f1"}


def test_clips_stand_around_any_middle(view: MelView) -> None:
    middles_s = np.array([0.1, 2.5, 7.37, 59.9])
    clips = clips_at(middles_s, 3, 3751, view, 313)
    assert clips.start.tolist() == [0, 0, 304, 3751 - 313]
    assert clips.owner.tolist() == [0, 1, 2, 3]
    assert set(clips.row.tolist()) == {3}
    assert set(clips.frames.tolist()) == {3751}


def test_clips_of_several_recordings_are_batched_together_and_score_as_they_do_one_by_one(
    store: Store, recipe: Recipe, model: Classifier
) -> None:
    rows = store.rows_of([f"{0:064x}", f"{1:064x}"])
    row_N, middle_N = np.repeat(rows, 5), np.tile(np.arange(5.0), 2)
    clips = clips_at(middle_N, row_N, store.frames[row_N], store.view, 40)
    found = list(scorer(model, store, recipe).batches(clips, 4))
    assert [len(each) for each in found] == [4, 4, 2]
    for number, scores_K in enumerate(np.concatenate(found)):
        one = clips_at(middle_N[[number]], int(row_N[number]), int(store.frames[row_N[number]]), store.view, 40)
        assert scores_K == pytest.approx(scorer(model, store, recipe).scores(one, 1)[0], abs=1e-5)
