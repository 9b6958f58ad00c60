"""The contents of an epoch's batches, decided by (seed, epoch, index) and nothing else.

N clip, P clip that gets a partner, Q clip that gets a background, S sound of a clip, T frame, K class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from train.data.augment_draws import Effects, Mixtures, draw_effects, draw_mixtures
from train.data.columns import part, replaced, without
from train.data.examples import Examples, background_examples
from train.data.labels import Labels, mixed_labels
from train.data.random import Purpose, uniform
from train.data.sampling import Drawn, PseudoClips, Sampler, clip_positions, clip_starts, shortened
from train.data.teacher import Teacher

CLIP, PARTNER, BACKGROUND, THIRD = range(4)  # the sounds of a clip, S
PIECE_CELLS = 2**22  # clips x classes that are planned together: an epoch of many recordings, and tens of MB at most


@dataclass(frozen=True)
class Worker:
    """One of the processes that train a model together: its number, how many there are, and its share of their work."""

    rank: int = 0
    world: int = 1

    def share(self, index: Ints) -> Ints:
        """This process's part of batches (..., B): all parts are of one size; a rest that cannot be shared is left."""
        each = index.shape[-1] // self.world
        return index[..., self.rank * each : (self.rank + 1) * each]

    def span(self, count: int) -> slice:
        """This process's part of `count` things in a row; all parts together are all things."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)


class Spans(NamedTuple):
    """Where clips lie: rows of the store, used part of each recording, and the clip's start in it."""

    row: Ints  # in the store; of pseudo-labelled clips in that of soundscapes
    first: Ints  # first frame of the recording that is used
    frames: Ints  # frames of the recording that are used
    start: Ints


class BatchPlan(NamedTuple):
    """Clips in the order of their epoch, each with its sounds (clip, partner, background, third), by numbers of a size.

    A sound that a clip lacks has 0 frames, at any place.
    """

    row: Ints  # (N, S), this and the next three as in Spans
    first: Ints
    frames: Ints
    start: Ints
    mixtures: Mixtures
    effects: Effects
    targets: Floats32  # (N, K)
    weights: Floats32  # (N, K), 0 for cells left out of the loss
    importance: Floats32  # (N,) weight of the clip in the loss
    teacher: Any = ()  # as `train.data.teacher.Lessons`, or nothing

    @property
    def size(self) -> int:
        """Number of clips, N."""
        return len(self.importance)

    @property
    def has(self) -> Bools:
        """Which sounds each clip has: (N, S)."""
        return self.frames > 0


class Planner:
    """Plans the batches of a fold's training; with several processes each gets its share of every batch.

    All batches of an epoch have one size. The last one is filled up with further clips of the recordings with which the
    epoch begins, cut and augmented anew. For `loss.consistency` each clip comes twice in a row, cut and mixed alike and
    augmented apart.

    Parameters
    ----------
    windows : windows of soundscapes that `sampling.shares` gives clips to, as from `train.data.windows.Windows`.
    """

    def __init__(
        self,
        examples: Examples,
        view: AnyView,
        recipe: Recipe,
        worker: Worker = Worker(),
        pseudo: PseudoClips | None = None,
        windows: Examples | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.teacher = teacher
        self._view, self._recipe, self._worker = view, recipe, worker
        self._of_windows, most = recipe.of_windows, recipe.of_all_clips
        self._examples = examples if windows is None else examples.followed_by(windows)
        self._recordings = len(examples)
        self._pseudo, self._loop = pseudo, recipe.short == "loop"
        heard_WK = None if windows is None else windows.secondary
        self.sampler = Sampler(examples.primary, examples.part, recipe.sampling, recipe.seed, examples.weight, heard_WK)
        self.class_counts = np.bincount(examples.primary, minlength=examples.classes)  # recordings of each: (K,)
        self._views = 2 if recipe.loss.consistency else 1
        self._drawn, step = self._views * self.sampler.clips, self._views * worker.world
        self._batch = min(recipe.batch_size, self._drawn) // step * step
        self._clip_frames = view.frames(recipe.clip_s)
        self._background, self._most = background_examples(examples, most), most.augment

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return self._examples.classes

    @property
    def clips(self) -> int:
        """Clips of an epoch, those of all processes together."""
        return len(self) * self._batch

    @property
    def batch_size(self) -> int:
        """Clips of a batch that are this process's, B."""
        return self._batch // self._worker.world

    @property
    def sounds(self) -> list[int]:
        """The sounds that a clip can have by the recipe."""
        ways = (self._most.mixup, self._most.sumix, self._most.cutmix)
        is_mixed = self._pseudo is not None or any(way.probability for way in ways)
        found = [CLIP] + [PARTNER] * is_mixed + [BACKGROUND] * bool(self._most.background.probability)
        return found + [THIRD] * bool(self._most.mixup.probability and self._most.mixup.third)

    def __len__(self) -> int:
        """Batches of an epoch; none if a process would get a single clip, since batch norm needs two."""
        return -(-self._drawn // self._batch) if self.batch_size > 1 else 0

    def pieces(self, epoch: int, first: int = 0) -> Iterator[BatchPlan]:
        """The batches of an epoch from number `first` on, many at a time; all of them if they are not too many."""
        drawn, many = self.sampler.epoch(epoch), max(1, PIECE_CELLS // max(1, self.batch_size * self.classes))
        for begin in range(first, len(self), many):
            yield self.plan(epoch, self._worker.share(self._index(begin, min(begin + many, len(self)))).ravel(), drawn)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchPlan]:
        """The batches of an epoch from number `first` on."""
        for piece in self.pieces(epoch, first):
            for begin in range(0, piece.size, self.batch_size):
                yield part(piece, slice(begin, begin + self.batch_size))

    def recordings(self, epoch: int, number: int) -> list[str]:
        """Names of all recordings that go into batch `number` of an epoch, of all processes, each once."""
        plan = self.plan(epoch, self._index(number, number + 1).ravel(), self.sampler.epoch(epoch))
        names = dict(zip(self._examples.rows.tolist(), self._examples.names, strict=True))
        return list(dict.fromkeys(names.get(row, "a soundscape") for row in plan.row.T[plan.has.T].tolist()))

    def _index(self, begin: int, end: int) -> Ints:
        """Numbers of the clips of batches within their epoch: (batches, B of all processes)."""
        return np.arange(begin * self._batch, end * self._batch).reshape(-1, self._batch)

    def plan(self, epoch: int, index_N: Ints, drawn: Drawn) -> BatchPlan:
        """Clips number `index_N` of an epoch, of which each view has a number."""
        seed, augment, cut_N = self._recipe.seed, self._recipe.augment, index_N // self._views
        own, partner = self.sampler.examples(epoch, drawn, cut_N), self.sampler.partners(epoch, drawn, cut_N)
        plain_N = (own >= self._recordings) & (self._draw(epoch, cut_N, Purpose.PLAIN) >= augment.windows)
        both = self._augmented(epoch, index_N, self._recipe)
        if augment.windows_override and len(rows := np.flatnonzero(own >= self._recordings)):
            both = replaced(both, rows, self._augmented(epoch, index_N[rows], self._of_windows))
        mixtures, effects = without(plain_N, both[0]), without(plain_N, both[1])
        choice = np.floor(self._draw(epoch, cut_N, Purpose.BACKGROUND) * len(self._background)).astype(np.int64)
        third = self.sampler.partners(epoch, drawn, cut_N, Purpose.THIRD_CLIP) if THIRD in self.sounds else partner
        starts = (Purpose.START, Purpose.PARTNER_START, Purpose.BACKGROUND_START, Purpose.THIRD_START)
        pairs = zip((own, partner, self._background[choice], third), starts, strict=True)
        spans = [self._spans(example, self._draw(epoch, cut_N, purpose)) for example, purpose in pairs]
        spans[CLIP] = self._shortened(epoch, cut_N, own >= self._recordings, plain_N, spans[CLIP])
        labels, others = self._labels(own, spans[CLIP]), self._labels(partner, spans[PARTNER])
        if self._pseudo:
            pseudo, chosen = self._pseudo, self._pseudo.drawn(seed, epoch, cut_N[mixtures.pseudo])
            there = pseudo.row[chosen], 0, pseudo.frames[chosen], pseudo.start[chosen], pseudo.scores[chosen], 1, 0
            columns: tuple[Any, ...] = (*spans[PARTNER], *others)
            for column, values in zip(columns, there, strict=True):
                column[mixtures.pseudo] = values  # which have no rating
        taught: Any = ()
        if self.teacher is not None and self.teacher.output is not None:
            sounds = [spans[sound] for sound in self.sounds if sound in (CLIP, PARTNER)]
            covered = [self.teacher.covered(each.row, *self._shown(each)) for each in sounds]
            taught = self.teacher.plan(epoch, covered, mixtures, self._clip_frames)
        row, first, frames, start = (np.stack(column, axis=1) for column in zip(*spans, strict=True))
        frames[:, PARTNER] *= mixtures.partnered
        frames[:, BACKGROUND] *= effects.added[:, 0] > 0
        frames[:, THIRD] *= mixtures.third
        labels = mixed_labels(labels, others, mixtures)
        if THIRD in self.sounds:
            of_three = mixtures._replace(partnered=mixtures.third, share=mixtures.pair_share)
            labels = mixed_labels(labels, self._labels(third, spans[THIRD]), of_three)
        return BatchPlan(row, first, frames, start, mixtures, effects, *labels, taught)

    def _augmented(self, epoch: int, index_N: Ints, recipe: Recipe) -> tuple[Mixtures, Effects]:
        """What a recipe does to clips number `index_N` of an epoch."""
        cut_N = index_N // self._views
        mixtures = draw_mixtures(recipe.seed, epoch, cut_N, recipe.augment, self._clip_frames, self._pseudo)
        return mixtures, draw_effects(epoch, index_N, recipe, self._view, mixtures)

    def _spans(self, example: Ints, draw: Floats64) -> Spans:
        """Where clips of examples lie that begin where `draw` says."""
        examples = self._examples
        row, first, frames = examples.rows[example], examples.first[example], examples.frames[example]
        return Spans(row, first, frames, clip_starts(frames, self._clip_frames, self._loop, draw))

    def _shortened(self, epoch: int, cut_N: Ints, is_window_N: Bools, plain_N: Bools, spans: Spans) -> Spans:
        """The spans of clips, of some a shorter part."""
        recordings, windows = self._recipe.augment.shorter, self._of_windows.augment.shorter
        if not recordings.probability and not windows.probability:
            return spans
        share_N = np.where(is_window_N, windows.probability, recordings.probability)
        most_N = np.where(is_window_N, *(self._view.frames(each.clip_s) for each in (windows, recordings)))
        draws = uniform(self._recipe.seed, epoch, cut_N, Purpose.SHORTER, 2)
        most_N = np.where((draws[:, 0] < share_N) & ~plain_N, most_N, self._clip_frames)
        is_cut_N = most_N < np.minimum(spans.frames, self._clip_frames)
        first, frames = shortened(spans.first, spans.frames, np.where(is_cut_N, most_N, spans.frames), draws[:, 1])
        draw_N = self._draw(epoch, cut_N, Purpose.START)
        return Spans(spans.row, first, frames, clip_starts(frames, self._clip_frames, self._loop, draw_N))

    def _labels(self, example: Ints, spans: Spans) -> Labels:
        """Labels of clips of examples."""
        targets, weights = self._examples.targets(example, self._recipe.secondary)
        shown = self._shown(spans)
        if self._pseudo is not None:
            self._pseudo.soften_(spans.row, targets, weights)
        self._examples.heard_targets_(example, *shown, targets, weights)
        if self.teacher is not None:
            self.teacher.soften_(spans.row, *shown, targets, weights)
        return Labels(targets, weights, self._examples.importance(example, self._recipe.loss.lowest_rating_weight))

    def _shown(self, spans: Spans) -> tuple[Ints, Ints]:
        """First frame of its recording that each clip shows, and the one after the last; a short one is shown whole."""
        begin = spans.first + np.where(spans.frames < self._clip_frames, 0, spans.start)
        return begin, begin + np.minimum(spans.frames, self._clip_frames)

    def clips_of(self, plan: BatchPlan, full: bool = False) -> tuple[Ints, Ints]:
        """Rows (X,) and positions (X, T), -1 for padding, of all clips, then of their partners, then of backgrounds.

        With `full` as many of each sound as there are clips, so that every batch has one shape; what a clip lacks is
        padding.
        """
        has_SN = (plan.has | full).T[self.sounds]
        row, first, frames, start = (each.T[self.sounds][has_SN] for each in plan[:4])
        position = clip_positions(start, np.maximum(frames, 1), self._clip_frames, self._loop, first)
        position[frames == 0] = -1
        return row, position

    def places(self, sounds_BS3: Tensor, padding: int) -> Tensor:
        """As `clips_of` for full shapes, on the device: (X, T) places among all frames, with that of `padding`.

        `sounds_BS3` is as in `StepInputs`.
        """
        sounds_X3 = torch.cat([sounds_BS3[:, sound] for sound in self.sounds])  # a list as index would be copied there
        place, frames, start = sounds_X3[..., None].unbind(1)
        position_XT = start + torch.arange(self._clip_frames, device=start.device)
        if self._loop:
            return torch.where(frames > 0, place + position_XT % frames.clamp(min=1), padding)
        return torch.where((position_XT >= 0) & (position_XT < frames), place + position_XT, padding)

    def _draw(self, epoch: int, index: Ints, purpose: Purpose) -> Floats64:
        return uniform(self._recipe.seed, epoch, index, purpose)[:, 0]
