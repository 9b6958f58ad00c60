"""The contents of each batch of an epoch, decided by (seed, epoch, index) and nothing else.

B batch, P partner, Q background, T frame, K class.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from train.data.augment_draws import BatchDraws, draw_batch
from train.data.examples import Examples
from train.data.random import Purpose, uniform
from train.data.sampling import Drawn, PseudoClips, Sampler, clip_positions, clip_starts


@dataclass(frozen=True)
class Worker:
    """One of the processes that train a model together: its number, how many there are, and its share of their work."""

    rank: int = 0
    world: int = 1

    def share(self, index: Ints) -> Ints:
        """This process's part of a batch: all parts are of one size, and a rest that cannot be shared is left out."""
        each = len(index) // self.world
        return index[self.rank * each : (self.rank + 1) * each]

    def span(self, count: int) -> slice:
        """This process's part of `count` things in a row; all parts together are all things."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)


@dataclass(frozen=True)
class BatchPlan:
    """The clips of a batch, followed by the partners of those that are mixed, and by backgrounds."""

    row: Ints  # (B + P + Q,) in the store; pseudo-labelled partners in that of soundscapes
    position: Ints  # (B + P + Q, T) frames of the recording, -1 = padding
    targets: Floats32  # (B + P, K)
    weights: Floats32  # (B + P, K), 0 for cells left out of the loss
    importance: Floats32  # (B + P,) weight of the recording in the loss
    draws: BatchDraws


class Planner:
    """Plans the batches of a fold's training; with several processes each gets its share of every batch."""

    def __init__(
        self,
        examples: Examples,
        view: AnyView,
        recipe: Recipe,
        worker: Worker = Worker(),
        pseudo: PseudoClips | None = None,
    ) -> None:
        self._examples, self._view, self._recipe, self._worker = examples, view, recipe, worker
        self._pseudo = pseudo
        self.sampler = Sampler(examples.primary, examples.part, recipe.sampling, recipe.seed)
        self._clip_frames = view.frames(recipe.clip_s)
        self._background = background_examples(examples, recipe)

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self._examples.classes

    @property
    def class_counts(self) -> Ints:
        """Recordings of each class that are trained on: (K,)."""
        return np.bincount(self._examples.primary, minlength=self.classes)

    @property
    def clips(self) -> int:
        """Clips of an epoch, those of all processes together."""
        return min(len(self) * self._recipe.batch_size, self.sampler.clips)

    def __len__(self) -> int:
        """Batches of an epoch; a last batch of one clip per process is left out, since batch norm needs two."""
        whole, rest = divmod(self.sampler.clips, self._recipe.batch_size)
        return whole + (rest // self._worker.world > 1)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchPlan]:
        """The batches of an epoch from number `first` on."""
        drawn = self.sampler.epoch(epoch)
        for number in range(first, len(self)):
            yield self.plan(epoch, self._worker.share(self._index(number)), drawn)

    def recordings(self, epoch: int, number: int) -> list[str]:
        """Names of all recordings that go into batch `number` of an epoch, of all processes, each once."""
        rows = self.plan(epoch, self._index(number), self.sampler.epoch(epoch)).row.tolist()
        names = dict(zip(self._examples.rows.tolist(), self._examples.names, strict=True))
        return list(dict.fromkeys(names.get(row, "a soundscape") for row in rows))

    def _index(self, number: int) -> Ints:
        """Numbers of the clips of a batch within their epoch."""
        size = self._recipe.batch_size
        return np.arange(number * size, min((number + 1) * size, self.sampler.clips))

    def plan(self, epoch: int, index_B: Ints, drawn: Drawn) -> BatchPlan:
        """The batch of clips number `index_B` of an epoch."""
        draws = draw_batch(epoch, index_B, self._recipe, self._view, self._pseudo)
        index_P, index_Q = index_B[draws.partnered], index_B[draws.backgrounded]
        mixed = np.concatenate([drawn.recordings[index_B], self.sampler.partners(epoch, drawn, index_P)])
        background = self._background[self._choice(epoch, index_Q)]
        start_draws = [
            self._draw(epoch, index_B, Purpose.START),
            self._draw(epoch, index_P, Purpose.PARTNER_START),
            self._draw(epoch, index_Q, Purpose.BACKGROUND_START),
        ]
        row, position = self._clips(np.concatenate([mixed, background]), np.concatenate(start_draws))
        targets, weights = self._examples.targets(mixed, self._recipe.secondary)
        self._examples.heard_targets_(mixed, position[: len(mixed)], targets, weights)
        importance = self._examples.importance(mixed, self._recipe.loss.lowest_rating_weight)
        plan = BatchPlan(row, position, targets, weights, importance, draws)
        if self._pseudo:
            self._put_(self._pseudo, plan, epoch, index_P)
        return plan

    def _put_(self, pseudo: PseudoClips, plan: BatchPlan, epoch: int, index_P: Ints) -> None:
        """Put pseudo-labelled clips in the places of those partners that are such ones; they have no rating."""
        is_pseudo_P = plan.draws.mixtures.pseudo
        chosen = pseudo.drawn(self._recipe.seed, epoch, index_P[is_pseudo_P])
        place = plan.draws.size + np.flatnonzero(is_pseudo_P)
        loop = self._recipe.short == "loop"
        plan.row[place] = pseudo.row[chosen]
        plan.position[place] = clip_positions(pseudo.start[chosen], pseudo.frames[chosen], self._clip_frames, loop)
        plan.targets[place], plan.weights[place], plan.importance[place] = pseudo.scores[chosen], 1, 0

    def _choice(self, epoch: int, index_Q: Ints) -> Ints:
        draw_Q = self._draw(epoch, index_Q, Purpose.BACKGROUND)
        return np.floor(draw_Q * len(self._background)).astype(np.int64)

    def _draw(self, epoch: int, index: Ints, purpose: Purpose) -> Floats64:
        return uniform(self._recipe.seed, epoch, index, purpose)[:, 0]

    def _clips(self, example: Ints, start_draw: Floats64) -> tuple[Ints, Ints]:
        """Rows and positions of clips that begin where `start_draw` says."""
        frames, loop = self._examples.frames[example], self._recipe.short == "loop"
        start = clip_starts(frames, self._clip_frames, loop, start_draw)
        position = clip_positions(start, frames, self._clip_frames, loop, self._examples.first[example])
        return self._examples.rows[example], position


def background_examples(examples: Examples, recipe: Recipe) -> Ints:
    """The recordings without birds, of the label that the recipe names; none without background.

    Raises
    ------
    TrainError
        If the recipe has background and no recording of the training folds has that label.
    """
    wanted = recipe.augment.background
    if not wanted.probability:
        return np.empty(0, np.int64)
    number = examples.labels.index(wanted.label) if wanted.label in examples.labels else -1
    found = np.flatnonzero(examples.primary == number)
    if not len(found):
        raise TrainError(
            f"params.yaml: augment.background.label = {wanted.label!r}: no training recording has this label; "
            "name the label of your recordings without birds, or set augment.background.probability: 0.0"
        )
    return found
