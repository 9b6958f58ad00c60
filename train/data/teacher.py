"""What a teacher says of planned clips: a weighted mean over its windows that each clip covers.

N clip, S sound of a clip (itself, its partner), W window of the teacher, D dimension of its output, K class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor

from birdcache.arrays import Floats32, Ints
from birdcache.errors import TrainError
from birdcache.params.embedding import Output, StoredEmbedding
from birdcache.params.recipe import Recipe
from birdcache.params.sections import MachineParams
from birdcache.params.teacher import TeacherParams
from cache.store import Store
from train.data.augment_draws import Mixtures
from train.data.examples import Examples
from train.data.frames import DeviceFrames, Frames, Uploaded, open_frames
from train.data.labels import sharpened
from train.data.member import ResolvedMember
from train.data.multi_view import ConcatFrames
from train.paths import store_path

Covered = tuple[Ints, Ints, Floats32]  # row, first window, weights of it and the next ones (N, W)


class Lessons(NamedTuple):
    """The teacher's windows that clips cover: arrays of a plan, or tensors of the same names."""

    row: Any  # (N, S) int64, of the teacher's store
    first: Any  # (N, S) int64: first window in the recording; on the device, in all of the store
    weights: Any  # (N, S, W) float32: share of a sound's time in each window; all 0 for a sound that it does not know
    share: Any  # (N,) float32, of the clip in the mixture
    weight: Any  # (N,) float32, in the loss; 0 for clips of which the teacher has nothing to say
    codes: Any = ()  # (N * S, W, D), quantised; none if the device's memory holds the teacher's store


@dataclass(frozen=True)
class Teacher:
    """A teacher's store, opened for a training; soundscapes, if that has any open, are numbered after recordings."""

    params: TeacherParams
    recipe: Recipe
    frames_per_s: float  # of the training's own view
    frames: Frames  # a frame is a window, a mel bin a dimension
    window_s: float
    hop_s: float
    output: Output | None  # that is learnt; None if there are soft labels alone
    row: Ints  # (recordings and soundscapes,) in the teacher's store, -1 where it has none
    windows: Ints  # (recordings and soundscapes,) number of windows of each
    scores: npt.NDArray[np.float16] | None  # (windows of recordings, K) for soft labels, NaN for classes not known

    def covered(self, row_N: Ints, begin_N: Ints, end_N: Ints) -> Covered:
        """Row (N,), first window (N,) and weights (N, W) of clips that show recordings from one frame to another."""
        begin_s, end_s = (each[:, None] / self.frames_per_s for each in (begin_N, end_N))
        count = int(np.ceil((self.recipe.clip_s + 1 / self.frames_per_s + self.window_s) / self.hop_s))
        first = np.maximum(np.floor((begin_s - self.window_s) / self.hop_s).astype(np.int64) + 1, 0)
        window_NW = first + np.arange(count)
        start_s = window_NW * self.hop_s
        overlap_s = np.minimum(start_s + self.window_s, end_s) - np.maximum(start_s, begin_s)
        overlap_s = np.maximum(overlap_s, 0) * (window_NW < self.windows[row_N, None])
        weights_NW = overlap_s / np.maximum(overlap_s.sum(axis=1, keepdims=True), 1e-9)
        return np.maximum(self.row[row_N], 0), first[:, 0], weights_NW.astype(np.float32)

    def soften_(self, row_N: Ints, begin_N: Ints, end_N: Ints, targets_NK: Floats32, weights_NK: Floats32) -> None:
        """Mix the targets of recordings with the scores of their clips, for classes that the teacher knows.

        Soundscapes keep their truth; what is left out of the loss stays so.
        """
        if self.params.soft is None or self.scores is None:
            return
        _, first_N, weights_NW = self.covered(row_N, begin_N, end_N)
        place_N = (np.cumsum(self.windows) - self.windows)[row_N] + first_N
        place_NW = np.minimum(place_N[:, None] + np.arange(weights_NW.shape[1]), len(self.scores) - 1)
        taught_NK = np.zeros_like(targets_NK)
        for window in range(weights_NW.shape[1]):
            taught_NK += weights_NW[:, window, None] * self.scores[place_NW[:, window]]
        soft, is_known_N = self.params.soft, (weights_NW.max(axis=1) > 0) & (place_N < len(self.scores))
        mixed_NK = soft.alpha * sharpened(taught_NK, soft.threshold, soft.power) + (1 - soft.alpha) * targets_NK
        np.copyto(targets_NK, mixed_NK, where=is_known_N[:, None] & (weights_NK > 0) & ~np.isnan(taught_NK))

    def plan(self, epoch: int, sounds: Sequence[Covered], mixtures: Mixtures, clip_frames: int) -> Lessons:
        """The windows of clips; one with a span of another, or a third one, does not count: none sounds like it."""
        row, first, weights = (np.stack(column, axis=1) for column in zip(*sounds, strict=True))
        weights[:, 1:] *= mixtures.partnered[:, None, None]
        is_known, width = weights.max(axis=2) > 0, mixtures.span[:, 1]
        counts = is_known[:, 0] & (is_known[:, -1] | ~mixtures.partnered) & ((width == 0) | (width == clip_frames))
        weight = (counts & ~mixtures.third) * self.params.weight_at(epoch, self.recipe.epochs)
        if isinstance(self.frames, DeviceFrames):
            first = self.frames.place(row, first)
        return Lessons(row, first, weights, mixtures.share.astype(np.float32), weight.astype(np.float32))

    def stage(self, lessons: Lessons) -> Uploaded:
        """Bring the windows of a batch towards the device, for one that does not hold them."""
        weights_XW = lessons.weights.reshape(-1, lessons.weights.shape[2])
        window_XW = lessons.first.reshape(-1, 1) + np.arange(weights_XW.shape[1])
        return self.frames.stage(lessons.row.ravel(), np.where(weights_XW > 0, window_XW, -1))

    def taught(self, lessons: Lessons) -> tuple[Tensor, Tensor]:
        """What the teacher says of clips, (N, D), and its weights, (N,).

        A mixture has the mean of embeddings by the shares of the sounds, and the union of scores.
        """
        assert self.output is not None
        codes, weights_NSW = lessons.codes, lessons.weights
        if isinstance(self.frames, DeviceFrames):
            place_NSW = lessons.first[..., None] + torch.arange(weights_NSW.shape[2], device=weights_NSW.device)
            codes = self.frames.gather(torch.where(weights_NSW > 0, place_NSW, self.frames.padding))
        values = self.frames.decode((codes[0][..., self.output.start : self.output.stop],))
        values = values.sigmoid() if self.params.loss == "kl" and self.params.logits else values
        mean_NSD = (values.view(*weights_NSW.shape, -1) * weights_NSW[..., None]).sum(dim=2)
        if self.params.loss == "kl":
            return mean_NSD.amax(dim=1), lessons.weight
        share_N1 = lessons.share[:, None]
        return share_N1 * mean_NSD[:, 0] + (1 - share_N1) * mean_NSD[:, 1:].sum(dim=1), lessons.weight


def open_teacher(
    member: ResolvedMember, own: Sequence[Store], examples: Examples, machine: MachineParams, device: torch.device
) -> Teacher | None:
    """Open the teacher of a member, if it has one; a TrainError if its store changed, or it knows no class to soften.

    `own` is the member's first store, and that of its soundscapes if it is open.
    """
    params = member.member.teacher
    if params is None:
        return None
    stores = [Store(store_path(params.view, soundscapes=number > 0)) for number in range(len(own))]
    view = stores[0].view
    if stores[0].digest != member.teacher_digest or not isinstance(view, StoredEmbedding):
        raise TrainError(f"{stores[0].path}: changed after member {member.name} was resolved; run `dvc repro`")
    opened, lines = zip(*(open_frames(store, device, machine) for store in stores), strict=True)
    rows = [theirs.rows_of(ours.audio_sha256) for theirs, ours in zip(stores, own, strict=True)]
    windows = [np.where(row >= 0, store.frames[row], 0) for row, store in zip(rows, stores, strict=True)]
    unknown = int((rows[0][examples.rows] < 0).sum())
    learning = f"{unknown} of {len(examples)} recordings are not in its store and learn from their labels alone"
    print("\n".join(f"teacher {params.view}: {line}" for line in (*lines, learning)[: len(lines) + (unknown > 0)]))
    return Teacher(
        params,
        member.recipe,
        member.view.sample_rate_hz / member.view.hop,
        opened[0] if len(opened) == 1 else ConcatFrames(opened[0], opened[1], len(stores[0])),
        view.window_s,
        view.hop_s,
        stores[0].outputs[params.loss == "kl"] if params.weight else None,
        np.concatenate([rows[0], *(np.where(row >= 0, row + len(stores[0]), -1) for row in rows[1:])]),
        np.concatenate(windows),
        _scores(stores[0], rows[0], examples.labels, params) if params.soft else None,
    )


def _scores(store: Store, row: Ints, labels: Sequence[str], params: TeacherParams) -> npt.NDArray[np.float16]:
    """A teacher's scores of our classes in the windows of all recordings, in their order; NaN where it knows none."""
    output = store.outputs[1]
    column: dict[str | int, int] = {number: output.start + number for number in range(output.stop - output.start)}
    column |= {name: output.start + number for number, name in enumerate(output.labels)}
    wrong = [f"{ours}: {name}" for ours, name in params.labels.items() if ours not in labels or name not in column]
    known = {number: column.get(params.labels.get(ours, ours)) for number, ours in enumerate(labels)}
    pairs = [(number, place) for number, place in known.items() if place is not None]
    if wrong or not pairs:
        which = f"no {', '.join(wrong)}" if wrong else "none of our classes by name"
        raise TrainError(
            f"{store.path}: the teacher knows {which}, but {', '.join(output.labels[:5]) or 'numbers'} ...; say in "
            "teacher.labels what it calls our classes, or which numbers they have, or set teacher.soft: null"
        )
    ours, theirs = map(list, zip(*pairs, strict=True))
    read = [store.read(each)[:, theirs] for each in row[row >= 0].tolist()]
    scores = np.full((sum(map(len, read)), len(labels)), np.nan, np.float16)
    scores[:, ours] = expit(np.concatenate(read)) if params.logits else np.concatenate(read)
    return scores
