"""What stage `train` says of a fold before it trains, and what it refuses; a fold that cannot be ranked is trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.conftest import TinyProject
from train import fit
from train.data.examples import Examples
from train.loop.validation import rarest_and_commonest, split_lines

SOME = (0, 0, 0, 0, 1, 1, 3, 3)


@pytest.fixture
def examples(random_store: Callable[..., Store], examples_of: Callable[..., Examples], view: MelView) -> Examples:
    """Four classes, of which bird2 has no recording."""
    return examples_of(random_store((700, 3, 40, 39, 41, 1, 520, 90), view), SOME)


def said(trained: Examples, validated: Examples, recipe: Recipe) -> str:
    return "\n".join(split_lines(trained, validated, recipe))


def test_the_counts_of_a_fold_are_told(examples: Examples, recipe: Recipe) -> None:
    weighted = resolve_recipe(recipe, {"sampling": {"weighted": True, "exponent": 1.0, "clips_per_epoch": 30}})
    told = said(examples, examples.subset([0, 4]), weighted)
    assert "training on 8 recordings, 30 clips an epoch; validating on 2" in told
    assert "bird2 0.0 (has 0), bird1 10.0 (has 2), bird3 10.0 (has 2), bird0 10.0 (has 4)" in told


def test_of_many_classes_the_rarest_and_commonest_are_told() -> None:
    assert rarest_and_commonest(np.array([5, 1, 9, 4, 2, 8, 7, 3])) == [1, 4, 7, 6, 5, 2]
    assert rarest_and_commonest(np.array([5, 1, 9])) == [1, 0, 2]


def test_a_class_without_a_clip_in_training_is_named(examples: Examples, recipe: Recipe) -> None:
    told = said(examples.subset(examples.primary != 3), examples, recipe)
    assert "warning: no recording of bird2, bird3 is in the training folds" in told
    complete = examples.subset(np.arange(8))
    relabelled = replace(complete, primary=np.array([0, 0, 1, 1, 2, 2, 3, 3]))
    assert "warning" not in said(relabelled, relabelled, recipe)


def test_a_class_without_a_positive_in_validation_is_named(examples: Examples, recipe: Recipe) -> None:
    told = said(examples, examples.subset(examples.primary != 1), recipe)
    assert "without a recording in the validation fold, so not in its metrics: bird1, bird2" in told
    assert "macro ROC-AUC" not in told


def test_a_fold_that_cannot_be_ranked_is_named(examples: Examples, recipe: Recipe) -> None:
    told = said(examples, examples.subset(examples.primary == 1), recipe)
    assert "warning: no class has both positives and negatives in the validation fold, so macro ROC-AUC is nan" in told


def test_a_negative_whose_label_is_secondary_is_none(examples: Examples, recipe: Recipe) -> None:
    """The only recording that is not of bird1 holds it too, so that it is neither positive nor negative."""
    two = examples.subset([0, 4])
    both = replace(two, secondary=np.array([[False, True, False, False], [True, False, False, False]]))
    assert "macro ROC-AUC is nan" in said(examples, both, recipe)


def test_a_class_that_nothing_teaches_the_absence_of_is_named(examples: Examples, recipe: Recipe) -> None:
    alone = examples.subset(examples.primary == 0)
    assert "warning: every recording to train on has the label bird0" in said(alone, examples, recipe)
    one = replace(alone, labels=("bird0",), secondary=alone.secondary[:, :1])
    assert "warning: bird0 is the only class, so no answer can be wrong: accuracy and F1 are nan" in said(
        one, one, recipe
    )


def test_many_absent_classes_are_named_in_short(examples: Examples, recipe: Recipe) -> None:
    labels = tuple(f"bird{number}" for number in range(30))
    many = replace(examples, labels=labels, secondary=np.zeros((8, 30), bool))
    assert re.search(r"no recording of bird2, bird4, .* and 15 more is in the training folds", said(many, many, recipe))


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project without its models and audio."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("models", "chorus", "train"))
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["train.fit", "base-0"])
    return root


def test_a_fold_of_one_class_is_trained_and_written_with_a_best_epoch(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = pd.read_csv(project / "data/folds.csv")
    recordings = pd.read_csv(project / "data/tables/recordings.csv").set_index("recording")
    lowest = recordings.loc[folds["recording"], "label"].to_numpy() == "lowton"
    folds["fold"] = np.where(lowest & (folds["fold"] == 0), 0, 1)
    folds.to_csv(project / "data/folds.csv", index=False)
    fit.main()
    told = capsys.readouterr().out
    assert "so macro ROC-AUC is nan" in told
    assert told.count("auc nan") == 3
    assert "reading" in told
    sidecar = json.loads((project / "models/base/0/model.json").read_text())
    assert set(sidecar["sha256"]) == {"last", "best"}
    losses = pd.read_csv(project / "reports/train/base-0/plots/metrics/validation/loss.tsv", sep="\t")["loss"]
    assert sidecar["metrics"]["best"]["loss"] == pytest.approx(losses.min())


def test_averaged_weights_are_those_that_are_kept(project: Path) -> None:
    path = project / "data/members/base.json"
    member = json.loads(path.read_text())
    member["recipe"]["optimiser"] |= {"ema_decay": 0.9, "accumulate": 2, "freeze_epochs": 1}
    member["recipe"] |= {"patience": 1, "channels_last": False}
    path.write_text(json.dumps(member))
    fit.main()
    assert {each.name for each in (project / "models/base/0").iterdir()} == {
        "last.safetensors",
        "best.safetensors",
        "model.json",
        "predictions.npz",
    }
