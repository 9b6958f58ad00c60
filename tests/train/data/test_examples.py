"""Examples: the recordings that a store holds, their folds, and the targets of each policy for secondary labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from birdcache.errors import TrainError
from birdcache.params.recipe import SecondaryParams
from birdcache.params.views import MelView
from cache.store import Store
from train.data.examples import Examples, read_examples, read_labels
from train.score.metrics import recording_metrics

RandomStore = Callable[..., Store]

LABELS = ["1234", "robin", "wren"]
RECORDINGS = [  # recording, label, secondary, audio's number, fold, rating
    ("robin/XC1.ogg", "robin", "wren 1234", 0, 1, "4.5"),
    ("robin/XC2.ogg", "robin", "", 1, 0, ""),
    ("wren/XC3.ogg", "wren", "robin owl", 9, 1, "3"),
    ("wren/XC4.ogg", "wren", "wren robin", 2, -1, "1.0"),
    ("1234/XC5.ogg", "1234", "", 2, 0, "0"),
]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tables of stages `recordings` and `folds`, in the current directory's data/."""
    monkeypatch.chdir(tmp_path)
    data = Path("data/tables")
    data.mkdir(parents=True)
    rows = [
        f"{name},{label},{secondary},{rating},{number:064x}\n"
        for name, label, secondary, number, _, rating in RECORDINGS
    ]
    (data / "recordings.csv").write_text("recording,label,secondary,rating,sha256\n" + "".join(rows))
    folds = [f"{name},{fold},0\n" for name, *_, fold, _ in reversed(RECORDINGS)]
    (data.parent / "folds.csv").write_text("recording,fold,group\n" + "".join(folds))
    (data / "sources.csv").write_text("source,weight,knows,validated\nxc,0.5,wren;robin,1\n")
    (data / "labels.csv").write_text("index,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(LABELS)))
    return data


@pytest.fixture
def store(random_store: RandomStore, view: MelView) -> Store:
    return random_store((50, 60, 70), view)


def test_labels_stay_text_and_in_order(tables: Path) -> None:
    assert read_labels() == LABELS


def test_recordings_that_the_store_does_not_hold_are_left_out(tables: Path, store: Store) -> None:
    examples, folds = read_examples(store, LABELS)
    assert examples.names == ("robin/XC1.ogg", "robin/XC2.ogg", "wren/XC4.ogg", "1234/XC5.ogg")
    assert examples.frames.tolist() == [50, 60, 70, 70]
    assert examples.primary.tolist() == [1, 1, 2, 0]
    assert folds.tolist() == [1, 0, -1, 0]


def test_each_example_points_at_its_own_row(tables: Path, store: Store) -> None:
    examples, _ = read_examples(store, LABELS)
    assert store.frames[examples.rows].tolist() == examples.frames.tolist()


def test_secondary_labels_are_known_classes_other_than_the_primary(tables: Path, store: Store) -> None:
    examples, _ = read_examples(store, LABELS)
    assert [np.flatnonzero(row).tolist() for row in examples.secondary] == [[0, 2], [], [1], []]
    assert examples.classes == 3
    assert examples.unknown is None, "all are of data.root"
    assert examples.weight is not None
    assert (examples.weight == 1).all()


def test_a_subset_keeps_what_belongs_together(tables: Path, store: Store) -> None:
    examples, folds = read_examples(store, LABELS)
    for chosen in (folds == 0, np.array([1, 3])):
        subset = examples.subset(chosen)
        assert subset.names == ("robin/XC2.ogg", "1234/XC5.ogg")
        assert subset.primary.tolist() == [1, 0]
        assert subset.frames.tolist() == [60, 70]
        assert subset.secondary.shape == (2, 3)
        assert subset.labels == tuple(LABELS)
        assert subset.part.tolist() == store.part[subset.rows].tolist()
        assert subset.rating.tolist() == [0, 0]


def test_a_store_of_other_recordings_is_refused(tables: Path, store: Store) -> None:
    path = tables / "recordings.csv"
    path.write_text("\n".join(path.read_text().splitlines()[i] for i in (0, 3)) + "\n")
    with pytest.raises(TrainError, match=r"tiny\.zarr: holds none of the recordings of data/tables/recordings\.csv"):
        read_examples(store, LABELS)


@pytest.mark.parametrize(
    ("policy", "target", "weight"), [("ignore", 0, 1), ("positive", 1, 1), ("weight", 0.3, 1), ("mask", 0, 0)]
)
def test_a_secondary_label_counts_as_its_policy_says(
    tables: Path,
    store: Store,
    policy: Literal["ignore", "positive", "weight", "mask"],
    target: float,
    weight: float,
) -> None:
    examples, _ = read_examples(store, LABELS)
    chosen = np.array([2, 0, 1, 3, 2])
    targets_BK, weights_BK = examples.targets(chosen, SecondaryParams(policy=policy, weight=0.3))
    t, w = target, weight
    assert targets_BK == pytest.approx(np.array([[t, 1, t], [0, 1, 0], [0, t, 1], [1, 0, 0]])[chosen])
    assert weights_BK == pytest.approx(np.array([[w, 1, w], [1, 1, 1], [1, w, 1], [1, 1, 1]])[chosen])


@pytest.fixture
def sourced(tables: Path, store: Store) -> Examples:
    """The first and third recording are of source xc, which knows nothing of 1234 and weighs half."""
    path = tables / "recordings.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(source=["xc", "", "", "xc", ""]).to_csv(path, index=False)
    return read_examples(store, LABELS)[0]


@pytest.mark.parametrize("policy", ["ignore", "positive", "weight", "mask"])
def test_a_class_that_a_source_cannot_tell_is_left_out_of_the_loss(
    sourced: Examples, policy: Literal["ignore", "positive", "weight", "mask"]
) -> None:
    _, weights_BK = sourced.targets(np.arange(4), SecondaryParams(policy=policy, weight=0.3))
    assert weights_BK[:, 0].tolist() == [0, 1, 0, 1]
    assert weights_BK[1].tolist() == weights_BK[3].tolist() == [1, 1, 1]
    assert weights_BK[[0, 2], [1, 2]].tolist() == [1, 1], "its own labels count"
    _, weights_BK = sourced.subset(np.array([3, 2])).targets(np.arange(2), SecondaryParams(policy=policy, weight=0.3))
    assert weights_BK[:, 0].tolist() == [1, 0]


def test_metrics_leave_out_what_a_source_cannot_tell_as_they_do_secondary_labels(sourced: Examples) -> None:
    assert sourced.unjudged.tolist() == [[True, False, True], [False] * 3, [True, True, False], [False] * 3]
    assert sourced.subset(np.array([2, 3])).unjudged.tolist() == [[True, True, False], [False] * 3]
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.9, 0.1], [0.9, 0.1, 0.8], [0.5, 0.1, 0.1]], np.float32)
    plain = recording_metrics(sourced.primary, sourced.secondary, scores)
    masked = recording_metrics(sourced.primary, sourced.unjudged, scores)
    assert plain["macro_roc_auc"] == pytest.approx((0.5 + 1 + 1) / 3), "of 1234, one negative is secondary"
    assert masked["macro_roc_auc"] == 1, "high scores of 1234 stand where nobody would have told of it"


def test_a_source_says_how_often_its_recordings_are_drawn(sourced: Examples) -> None:
    assert sourced.weight is not None
    assert sourced.weight.tolist() == [0.5, 1, 0.5, 1]


def test_classes_are_drawn_by_their_factors_and_not_at_all_by_0(sourced: Examples) -> None:
    weighed = sourced.weighed(np.array([1.0, 0.25, 0.0]))
    assert weighed.names == tuple(name for name in sourced.names if not name.startswith("wren"))
    assert weighed.weight is not None
    assert weighed.weight.tolist() == [0.125, 0.25, 1.0]
    plain = replace(sourced, weight=None).weighed(np.array([1.0, 0.25, 0.0])).weight
    assert plain is not None
    assert plain.tolist() == [0.25, 0.25, 1.0]


def test_of_classes_that_are_not_known_nothing_is_judged(sourced: Examples) -> None:
    unjudged = sourced.knowing(np.array([True, True, False])).unjudged
    assert unjudged.tolist() == [[True, False, True], [False, False, True], [True, True, True], [False, False, True]]
    plain = replace(sourced, unknown=None).knowing(np.array([True, False, True])).unjudged
    assert plain[:, 1].all()


def test_a_rating_is_the_weight_of_its_recording_and_none_counts_fully(tables: Path, store: Store) -> None:
    examples, _ = read_examples(store, LABELS)
    assert examples.rating.tolist() == [4.5, 0, 1, 0]
    every = np.arange(4)
    assert examples.importance(every, 0.0) == pytest.approx([0.9, 1, 0.2, 1])
    assert examples.importance(every[::-1], 0.5) == pytest.approx([1, 0.5, 1, 0.9])
    assert examples.importance(every, 1.0) == pytest.approx([1, 1, 1, 1])


def test_without_any_rating_all_recordings_count_alike(tables: Path, store: Store) -> None:
    path = tables / "recordings.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(rating="").to_csv(path, index=False)
    examples, _ = read_examples(store, LABELS)
    assert examples.importance(np.arange(4), 0.1).tolist() == [1, 1, 1, 1]
