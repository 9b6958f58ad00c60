"""Mean and deviation of each mel bin over the training fold, against a slow reference, and what they make of clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.augment import normalise as statistics
from train.augment.normalise import Normaliser, bin_statistics
from train.data.examples import Examples
from train.data.frames import HostFrames
from train.data.random import Purpose, uniform
from train.data.sampling import clip_positions, clip_starts

LENGTHS = (700, 40, 41, 520, 90, 64, 200, 47, 300, 80)


@pytest.fixture
def store(random_store: Callable[..., Store], view: MelView) -> Store:
    return random_store(LENGTHS, view)


@pytest.fixture
def examples(store: Store, examples_of: Callable[..., Examples]) -> Examples:
    return examples_of(store, (0, 1) * 5)


@pytest.fixture
def by_bins(recipe: Recipe) -> Recipe:
    return resolve_recipe(recipe, {"normalise": "bins", "dynamic_range_db": 60.0})


def slow_clips(store: Store, examples: Examples, recipe: Recipe, numbers: range) -> list[np.ndarray]:
    """One clip of each recording, where its own draw says, within the dynamic range."""
    found = []
    for number in numbers:
        length = examples.frames[[number]]
        draw = uniform(recipe.seed, 0, np.array([number]), Purpose.STATISTICS)[:, 0]
        start = clip_starts(length, 40, recipe.short == "loop", draw)
        position = clip_positions(start, length, 40, recipe.short == "loop")[0]
        clip = store.read(int(examples.rows[number])).astype(np.float64)[position]
        found.append(np.maximum(clip, clip.max() - recipe.dynamic_range_db))
    return found


def test_statistics_are_those_of_one_clip_of_each_recording(
    store: Store, examples: Examples, by_bins: Recipe, cpu: torch.device
) -> None:
    found = bin_statistics(examples, HostFrames(store, cpu), store.view, by_bins)
    frames = np.concatenate(slow_clips(store, examples, by_bins, range(10)))
    assert found.mean[0].numpy() == pytest.approx(frames.mean(axis=0), rel=1e-5)
    assert found.deviation[0].numpy() == pytest.approx(frames.std(axis=0), rel=1e-4)


@pytest.mark.parametrize(("most", "step"), [(10, 1), (9, 2), (4, 3)])
def test_of_many_recordings_every_second_or_third_is_enough(
    store: Store,
    examples: Examples,
    by_bins: Recipe,
    cpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    step: int,
) -> None:
    monkeypatch.setattr(statistics, "MOST_CLIPS", most)
    monkeypatch.setattr(statistics, "BATCH", 2)
    found = bin_statistics(examples, HostFrames(store, cpu), store.view, by_bins)
    frames = np.concatenate(slow_clips(store, examples, by_bins, range(0, 10, step)))
    assert found.mean[0].numpy() == pytest.approx(frames.mean(axis=0), rel=1e-5)


def test_clips_of_the_fold_have_mean_zero_and_deviation_one_in_each_mel_bin(
    store: Store, examples: Examples, by_bins: Recipe, cpu: torch.device
) -> None:
    found = bin_statistics(examples, HostFrames(store, cpu), store.view, by_bins)
    clips = torch.tensor(np.stack(slow_clips(store, examples, by_bins, range(10))), dtype=torch.float32)
    seen = Normaliser(store.view, by_bins, found)(clips).numpy()
    assert seen.mean(axis=(0, 2))[0] == pytest.approx(np.zeros(32), abs=1e-4)
    assert seen.std(axis=(0, 2))[0] == pytest.approx(np.ones(32), abs=1e-4)


def test_each_channel_has_statistics_of_its_own(
    store: Store, examples: Examples, by_bins: Recipe, cpu: torch.device
) -> None:
    frames = HostFrames(store, cpu)
    both = resolve_recipe(by_bins, {"channels": ["slope", "level"]})
    found = bin_statistics(examples, frames, store.view, both)
    alone = [
        bin_statistics(examples, frames, store.view, resolve_recipe(by_bins, {"channels": [name]}))
        for name in both.channels
    ]
    assert torch.equal(found.mean, torch.cat([each.mean for each in alone]))
    assert torch.equal(found.deviation, torch.cat([each.deviation for each in alone]))
