"""The recordings that a fold trains and validates on, with their targets and annotated times.

N recording, E event, B clip, T frame, K class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe, SecondaryParams
from cache import tables
from cache.store import Store
from cache.tables import Col

SILENCE = -1  # instead of a class: somebody listened to this time, and heard none
BEST_RATING = 5.0  # stars of xeno-canto
OF_EACH = ("rows", "part", "first", "frames", "primary", "secondary", "rating", "unknown", "weight")  # of Examples


@dataclass(frozen=True)
class Events:
    """Annotated times of recordings, in frames, in order of row and time."""

    row: Ints  # (E,) in the store
    first: Ints  # (E,) first frame
    end: Ints  # (E,) frame after the last
    label: Ints  # (E,) class, or SILENCE

    def heard(self, row_B: Ints, begin_B: Ints, end_B: Ints, classes: int) -> tuple[Bools, Bools, Bools]:
        """Compare clips with the annotated times.

        Parameters
        ----------
        row_B : rows of the clips' recordings.
        begin_B, end_B : first frame of the recording that each clip shows, and the one after the last.

        Returns
        -------
        annotated : (B,) whether somebody annotated the recording.
        present : (B, K) classes of which at least half a time lies in the clip, or which fill at least half of it.
        unsure : (B, K) classes of which less than that lies in the clip, and which are not present.
        """
        # events are sorted by row, so those of a clip are a span; all spans are laid out one after the other, as pairs
        # (clip, event) without a loop over clips
        low_B, high_B = np.searchsorted(self.row, row_B, "left"), np.searchsorted(self.row, row_B, "right")
        count_B = high_B - low_B
        clip = np.repeat(np.arange(len(row_B)), count_B)
        event = np.arange(len(clip)) - np.repeat(np.cumsum(count_B) - count_B, count_B) + np.repeat(low_B, count_B)
        overlap = np.minimum(self.end[event], end_B[clip]) - np.maximum(self.first[event], begin_B[clip])
        enough = 2 * overlap >= np.minimum(self.end[event] - self.first[event], end_B[clip] - begin_B[clip])
        present_BK, touched_BK = np.zeros((2, len(row_B), classes), bool)
        enough, touched = (each & (self.label[event] != SILENCE) for each in (enough, overlap > 0))
        present_BK[clip[enough], self.label[event[enough]]] = True
        touched_BK[clip[touched], self.label[event[touched]]] = True
        return count_B > 0, present_BK, touched_BK & ~present_BK


@dataclass(frozen=True)
class Examples:
    """Recordings with their labels."""

    labels: tuple[str, ...]  # (K,) names of the classes
    names: tuple[str, ...]
    rows: Ints  # (N,) in the store
    part: Ints  # (N,) of the store that each recording lies in
    first: Ints  # (N,) first frame of each recording that is used
    frames: Ints  # (N,) frames of each recording that are used
    primary: Ints  # (N,) class of the primary label
    secondary: Bools  # (N, K) secondary labels
    rating: Floats64  # (N,) 1 to 5, 0 = unrated
    events: Events | None = None  # annotated times, if clips are drawn from them
    unknown: Bools | None = None  # (N, K) classes that a recording's source says nothing of; None: no such source
    weight: Floats64 | None = None  # (N,) factor of the probability of being drawn; None: all alike

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, chosen: Any) -> Examples:
        """The examples that a mask or an index array chooses."""
        numbers = np.arange(len(self))[chosen]
        names = tuple(self.names[number] for number in numbers)
        arrays = {name: array[chosen] for name in OF_EACH if (array := getattr(self, name)) is not None}
        return replace(self, names=names, **arrays)

    def followed_by(self, others: Examples) -> Examples:
        """These examples and then others, whose rows come after these, and of which every class is known."""
        arrays: dict[str, Any] = {name: np.concatenate([vars(self)[name], vars(others)[name]]) for name in OF_EACH[:7]}
        if self.unknown is not None:
            arrays["unknown"] = np.concatenate([self.unknown, np.zeros_like(others.secondary)])
        events = [each.events for each in (self, others) if each.events is not None]
        joined = Events(*(np.concatenate([vars(each)[name] for each in events]) for name in Events.__annotations__))
        return replace(self, names=self.names + others.names, **arrays, events=joined, weight=None)

    def weighed(self, factor_K: Floats64) -> Examples:
        """Each drawn as much more or less often as its class's factor says; those of factor 0 are left out."""
        factor_N = factor_K[self.primary]
        weight_N = factor_N if self.weight is None else factor_N * self.weight
        return replace(self, weight=weight_N).subset(factor_N > 0)

    def knowing(self, knows_K: Bools) -> Examples:
        """The same, of which only these classes are known, and so judged."""
        unknown_NK = np.zeros_like(self.secondary) if self.unknown is None else self.unknown
        return replace(self, unknown=unknown_NK | ~knows_K)

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.labels)

    @property
    def unjudged(self) -> Bools:
        """Classes that count neither for nor against: secondary labels, and those of which a source says nothing."""
        return self.secondary if self.unknown is None else self.secondary | self.unknown

    def answers(self, scores_NK: Floats32) -> Floats32:
        """The scores, but 0 for classes that a recording's source says nothing of: none of these is its best class."""
        return scores_NK if self.unknown is None else np.where(self.unknown, np.float32(0), scores_NK)

    def taught(self, policy: SecondaryParams) -> Bools:
        """The classes that some recording has a target above 0 for: (K,), by its labels or its annotated times."""
        taught_K = np.bincount(self.primary, minlength=self.classes) > 0
        if policy.policy == "positive" or (policy.policy == "weight" and policy.weight > 0):
            taught_K |= self.secondary.any(axis=0)
        if self.events is not None:
            taught_K[self.events.label[np.isin(self.events.row, self.rows)]] = True
        return taught_K

    def targets(self, chosen: Ints, policy: SecondaryParams) -> tuple[Floats32, Floats32]:
        """Targets and weights of chosen examples in the loss.

        Returns
        -------
        targets : (B, K), 1 for the primary label; for secondary labels 0 (policy ignore or mask), 1 (positive), or the
            weight.
        weights : (B, K), 0 for cells left out of the loss (secondary labels under policy mask, and classes of which the
            source of a recording says nothing), else 1.
        """
        value = {"ignore": 0.0, "mask": 0.0, "positive": 1.0, "weight": policy.weight}[policy.policy]
        secondary_BK = self.secondary[chosen]
        targets_BK = secondary_BK.astype(np.float32) * np.float32(value)
        targets_BK[np.arange(len(chosen)), self.primary[chosen]] = 1
        weights_BK = np.ones_like(targets_BK)
        if policy.policy == "mask":
            weights_BK[secondary_BK] = 0
        if self.unknown is not None:
            weights_BK[self.unknown[chosen]] = 0
        return targets_BK, weights_BK

    def heard_targets_(
        self, chosen: Ints, begin_B: Ints, end_B: Ints, targets_BK: Floats32, weights_BK: Floats32
    ) -> None:
        """Replace the labels of whole recordings by those annotated in their clips.

        A class that is heard in a clip gets 1, one that is not 0; classes of which the clip holds less than half of an
        annotated time are ignored in the loss.

        Parameters
        ----------
        begin_B, end_B : first frame that the clip of each chosen example shows, and the one after the last.
        targets_BK, weights_BK : as from `targets`; rows of recordings without annotations stay.
        """
        if self.events is None:
            return
        annotated_B, present_BK, unsure_BK = self.events.heard(self.rows[chosen], begin_B, end_B, self.classes)
        targets_BK[annotated_B] = present_BK[annotated_B]
        weights_BK[annotated_B] = ~unsure_BK[annotated_B]

    def importance(self, chosen: Ints, lowest: float) -> Floats32:
        """Weight of chosen examples in the loss: rating / 5, at least `lowest`; 1 without a rating: (B,)."""
        rating_B = self.rating[chosen]
        return np.where(rating_B > 0, np.maximum(rating_B / BEST_RATING, lowest), 1.0).astype(np.float32)


def background_examples(examples: Examples, recipe: Recipe) -> Ints:
    """The recordings without birds, of the label that the recipe names; without background, any.

    A TrainError if the recipe has background and no recording of the training folds has that label.
    """
    wanted = recipe.augment.background
    if not wanted.probability:
        return np.zeros(1, np.int64)
    number = examples.labels.index(wanted.label) if wanted.label in examples.labels else -1
    found = np.flatnonzero(examples.primary == number)
    if not len(found):
        raise TrainError(
            f"params.yaml: augment.background.label = {wanted.label!r}: no training recording has this label; "
            "name the label of your recordings without birds, or set augment.background.probability: 0.0"
        )
    return found


def read_labels() -> list[str]:
    """The classes in order."""
    return list(tables.LABELS.read(Col.LABEL)[Col.LABEL])


def read_examples(store: Store, labels: list[str]) -> tuple[Examples, Ints]:
    """All recordings that the store holds, and the fold of each (-1: in training always).

    A TrainError if the store holds none of the recordings.
    """
    table = tables.RECORDINGS.read(Col.RECORDING, Col.LABEL, Col.SECONDARY, Col.RATING, Col.SHA256, Col.SOURCE)
    folds = tables.FOLDS.read(Col.RECORDING, Col.FOLD).set_index(Col.RECORDING)[Col.FOLD]
    rows = store.rows_of(list(table[Col.SHA256]))
    table, rows = table[rows >= 0], rows[rows >= 0]
    if not len(table):
        raise TrainError(f"{store.path}: holds none of the recordings of {tables.RECORDINGS.path}; run `dvc repro`")
    number = {label: index for index, label in enumerate(labels)}
    primary = np.array([number[label] for label in table[Col.LABEL]], np.int64)
    listed = [
        (n, number[label]) for n, each in enumerate(table[Col.SECONDARY]) for label in each.split() if label in number
    ]
    secondary = np.zeros((len(table), len(labels)), bool)
    secondary[tuple(np.array(listed, np.int64).reshape(-1, 2).T)] = True
    secondary[np.arange(len(table)), primary] = False
    rating = table[Col.RATING].fillna(0.0).to_numpy(np.float64)
    names = tuple(table[Col.RECORDING])
    first, frames = np.zeros_like(rows), store.frames[rows]
    sources = tables.SOURCES.read(Col.SOURCE, Col.WEIGHT, Col.KNOWS).set_index(Col.SOURCE)
    weight = table[Col.SOURCE].map(sources[Col.WEIGHT]).fillna(1.0).to_numpy(np.float64)
    unknown = np.zeros_like(secondary)
    for source, knows in sources.loc[sources[Col.KNOWS] != "", Col.KNOWS].items():
        unknown[table[Col.SOURCE] == source] = ~np.isin(labels, knows.split(";"))
    facts = (primary, secondary, rating, None, unknown if unknown.any() else None, weight)
    examples = Examples(tuple(labels), names, rows, store.part[rows], first, frames, *facts)
    return examples, folds.loc[list(table[Col.RECORDING])].to_numpy(np.int64)
