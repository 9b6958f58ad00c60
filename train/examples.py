"""The recordings that a fold trains and validates on, with their targets. N recording, K class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cache.store import Store
from params import SecondaryParams
from train.errors import TrainError
from train.paths import FOLDS, LABELS, RECORDINGS

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Recordings with what a model should say about them."""

    names: tuple[str, ...]
    rows: Ints  # (N,) in the store
    frames: Ints  # (N,) length of each recording
    primary: Ints  # (N,) class of the primary label
    secondary: npt.NDArray[np.bool_]  # (N, K) secondary labels

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, chosen: Any) -> Examples:
        """The examples that a mask or an index array chooses."""
        numbers = np.arange(len(self))[chosen]
        names = tuple(self.names[number] for number in numbers)
        return Examples(names, self.rows[chosen], self.frames[chosen], self.primary[chosen], self.secondary[chosen])

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return int(self.secondary.shape[1])


def read_labels() -> list[str]:
    """The classes in order, from data/labels.csv."""
    return [str(label) for label in pd.read_csv(LABELS, dtype={"label": str}, keep_default_na=False)["label"]]


def read_examples(store: Store, labels: list[str]) -> tuple[Examples, Ints]:
    """All recordings that the store holds, and the fold of each (-1: in training always).

    Raises
    ------
    TrainError
        If the store holds none of the recordings.
    """
    table = pd.read_csv(
        RECORDINGS, dtype={"recording": str, "label": str, "secondary": str, "sha256": str}, keep_default_na=False
    )
    folds = pd.read_csv(FOLDS, dtype={"recording": str}, keep_default_na=False).set_index("recording")["fold"]
    rows = store.rows_of(list(table["sha256"]))
    table, rows = table[rows >= 0], rows[rows >= 0]
    if not len(table):
        raise TrainError(f"{store.path}: holds none of the recordings of {RECORDINGS}; run `dvc repro`")
    number = {label: index for index, label in enumerate(labels)}
    primary = np.array([number[label] for label in table["label"]], np.int64)
    secondary = _secondary(list(table["secondary"]), primary, number)
    examples = Examples(tuple(table["recording"]), rows, store.frames[rows], primary, secondary)
    return examples, folds.loc[list(table["recording"])].to_numpy(np.int64)


def _secondary(texts: list[str], primary: Ints, number: dict[str, int]) -> npt.NDArray[np.bool_]:
    secondary = np.zeros((len(texts), len(number)), bool)
    for row, text in enumerate(texts):
        for label in text.split():
            if label in number:
                secondary[row, number[label]] = True
    secondary[np.arange(len(texts)), primary] = False
    return secondary


def targets(examples: Examples, policy: SecondaryParams) -> tuple[Floats, Floats]:
    """What the loss compares logits with.

    Returns
    -------
    targets : (N, K), 1 for the primary label; for secondary labels 0 (policy ignore or mask), 1 (positive), or the
        weight.
    weights : (N, K), 0 where the loss must not look (secondary labels under policy mask), else 1.
    """
    value = {"ignore": 0.0, "mask": 0.0, "positive": 1.0, "weight": policy.weight}[policy.policy]
    targets_NK = examples.secondary.astype(np.float32) * np.float32(value)
    targets_NK[np.arange(len(examples)), examples.primary] = 1
    weights_NK = np.ones_like(targets_NK)
    if policy.policy == "mask":
        weights_NK[examples.secondary] = 0
    return targets_NK, weights_NK
