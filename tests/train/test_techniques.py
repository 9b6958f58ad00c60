"""Each technique helps on data made for it: where it does not help elsewhere, its code is not to blame.

Recordings are 40 frames of 32 mel bins, a faint noise in which some bins are louder by the class; the network is a
linear one on the mean of each bin, so that nothing but the technique decides. Every one of three seeds must show it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from birdcache.arrays import Floats32
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import Training
from train.data.examples import Examples
from train.model.classifier import Classifier

pytestmark = pytest.mark.slow

BINS, FRAMES = 32, 40
PLAIN = {
    "epochs": 20,
    "batch_size": 8,
    "normalise": "clip",
    "optimiser": {"kind": "adamw", "lr": 1e-2},
    "loss": {"kind": "ce"},
}


class BinNet(nn.Sequential):
    """A linear network on the mean of each mel bin."""

    num_features = BINS

    def __init__(self, classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d((BINS, 1)), nn.Flatten(), nn.Linear(BINS, classes))

    def get_classifier(self) -> nn.Module:
        """The head, as timm's models name it."""
        return self[-1]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Means of bins."""
        means: torch.Tensor = self[1](self[0](images))
        return means

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features as they are, or logits."""
        logits: torch.Tensor = self[-1](features)
        return features if pre_logits else logits


class Birds:
    """Recordings of species that are each loud in bins of their own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.recordings: list[Floats32] = []
        self.species: list[int] = []

    def sing(self, heard: Sequence[int], loud_db: float, spread_db: float = 2.0, name: int | None = None) -> None:
        """Record species, four bins for each; a recording has levels of its own in all bins, `spread_db` apart."""
        recording = -80 + self.rng.normal(0, 1, (FRAMES, BINS)) + self.rng.normal(0, spread_db, BINS)
        for each in heard:
            recording[:, 4 * each : 4 * each + 4] += loud_db
        self.recordings.append(recording.astype(np.float32))
        self.species.append(heard[0] if name is None else name)


class Trial:
    """Trains on some recordings and scores others."""

    def __init__(self, make: Callable[..., Store], examples_of: Callable[..., Examples], member: Member, view: MelView):
        self.make, self.examples_of, self.member, self.view = make, examples_of, member, view

    def scores(self, learnt: Birds, heard: Birds, recipe: Recipe, seed: int) -> Floats32:
        """Scores of what is heard, after a training on what is learnt."""
        store, other = (self.make(each.recordings, self.view) for each in (learnt, heard))
        training = Training(store, self.examples_of(store, learnt.species), self.member)
        classes = training.examples.classes
        torch.manual_seed(seed)
        training.run(recipe, seed, Classifier(BinNet(classes), BINS))
        kept = training.trainer.training_step.kept
        training.store, training.validated = other, self.examples_of(other, heard.species)
        return training.validation(recipe).predict(kept)[0]


@pytest.fixture
def trial(
    make_store: Callable[..., Store], examples_of: Callable[..., Examples], member: Member, view: MelView
) -> Trial:
    return Trial(make_store, examples_of, member, view)


def both(
    trial: Trial,
    recipe: Recipe,
    data: Callable[[int], tuple[Birds, Birds]],
    change: dict[str, Any],
    measure: Callable[[Birds, Floats32], float],
    plain: dict[str, Any],
) -> tuple[list[float], list[float]]:
    """The measure without and with a change of the recipe, for each of three seeds."""
    without = resolve_recipe(recipe, plain)
    recipes, found = (without, resolve_recipe(without, change)), (list[float](), list[float]())
    for seed in range(1, 4):
        learnt, heard = data(seed)
        for each, values in zip(recipes, found, strict=True):
            values.append(measure(heard, trial.scores(learnt, heard, each, seed)))
    return found


def accuracy(heard: Birds, scores: Floats32) -> float:
    """Share of recordings whose own species has the highest score."""
    return float(np.mean(scores.argmax(axis=1) == heard.species))


def log_loss(heard: Birds, scores: Floats32) -> float:
    """Mean surprise at the true species."""
    return float(-np.log(scores[np.arange(len(scores)), heard.species]).mean())


def recall_of_last(heard: Birds, scores: Floats32) -> float:
    """Share of the last species' recordings that are recognised."""
    last = np.array(heard.species) == max(heard.species)
    return float(np.mean(scores[last].argmax(axis=1) == max(heard.species)))


def score_of_second(heard: Birds, scores: Floats32) -> float:
    """Mean of the second highest score of a recording, in which two sing."""
    assert len(heard.species) == len(scores)
    return float(np.mean(np.sort(scores)[:, -2]))


def long_tail(seed: int) -> tuple[Birds, Birds]:
    """40, 40, 40 and 3 recordings of four species are learnt; as many of each are then heard."""
    learnt, heard = Birds(seed), Birds(100 + seed)
    for species, count in enumerate((40, 40, 40, 3)):
        for _ in range(count):
            learnt.sing([species], loud_db=6)
        for _ in range(20):
            heard.sing([species], loud_db=6)
    return learnt, heard


def wrong_names(seed: int) -> tuple[Birds, Birds]:
    """Every third recording was given another species' name; what is heard has the right ones."""
    learnt, heard = Birds(seed), Birds(100 + seed)
    for number in range(36):
        learnt.sing([number % 4], loud_db=4, spread_db=3, name=(number % 4 + (number % 3 == 0)) % 4)
    for number in range(80):
        heard.sing([number % 4], loud_db=4, spread_db=3)
    return learnt, heard


def another_recorder(seed: int) -> tuple[Birds, Birds]:
    """A song has a loud part and faint overtones in four other bins; the second recorder lacks the loud part."""
    learnt, heard = Birds(seed), Birds(100 + seed)
    for number in range(80):
        species = number % 4
        for birds, loud_db in ((learnt, 20), (heard, 0)):
            birds.sing([species], loud_db=loud_db)
            birds.recordings[-1][:, 16 + 4 * species : 20 + 4 * species] += 3
    return learnt, heard


def two_at_once(seed: int) -> tuple[Birds, Birds]:
    """Each of four species alone is learnt, then two sing at once."""
    learnt, heard = Birds(seed), Birds(100 + seed)
    for number in range(40):
        learnt.sing([number % 4], loud_db=6, spread_db=2)
        heard.sing([number % 4, (number + 1 + number // 4 % 3) % 4], loud_db=6, spread_db=2)
    return learnt, heard


def test_weighted_sampling_finds_the_tail(trial: Trial, recipe: Recipe) -> None:
    """The order of its scores, which average precision measures, needs no even sampling in a linear network."""
    change = {"sampling": {"weighted": True, "exponent": 1.0}}
    without, with_it = both(trial, recipe, long_tail, change, recall_of_last, PLAIN | {"epochs": 2})
    assert min(np.subtract(with_it, without)) > 0.1


def test_label_smoothing_doubts_wrong_names(trial: Trial, recipe: Recipe) -> None:
    change, fast = {"loss": {"label_smoothing": 0.2}}, {"epochs": 40, "optimiser": {"kind": "adamw", "lr": 5e-2}}
    without, with_it = both(trial, recipe, wrong_names, change, log_loss, PLAIN | fast)
    assert max(np.subtract(with_it, without)) < -0.2


def test_masks_over_mel_bins_teach_to_hear_overtones(trial: Trial, recipe: Recipe) -> None:
    change = {"augment": {"spec_augment": {"mel_masks": 2, "mel_width": 8, "probability": 1.0}}}
    without, with_it = both(trial, recipe, another_recorder, change, accuracy, PLAIN)
    assert min(np.subtract(with_it, without)) > 0.1


def test_mixup_with_both_labels_hears_the_second_bird(trial: Trial, recipe: Recipe) -> None:
    change = {"augment": {"mixup": {"probability": 0.5, "labels": "max", "alpha": 1.0}}}
    yes_or_no = {"loss": {"kind": "bce"}, "epochs": 40}
    without, with_it = both(trial, recipe, two_at_once, change, score_of_second, PLAIN | yes_or_no)
    assert min(np.subtract(with_it, without)) > 0.3
