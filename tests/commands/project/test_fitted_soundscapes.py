"""What labelled windows of soundscapes switch on in params.yaml."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from birdcache.params.recipe import completed
from commands.project.data_facts import DataFacts
from commands.project.fitted_params import fill_soundscapes
from tests.fixtures import tiny

RECORDINGS_ALONE = {"recordings": 1.0, "soundscapes": 0.0}


def filled(labels: str | None, sites: int) -> dict[str, Any]:
    """The shipped params.yaml, of three folds, for windows at so many sites."""
    document: dict[str, Any] = copy.deepcopy(tiny.parsed())
    facts = DataFacts("birdclef", Path(), (9,), False, 0, soundscape_labels=labels, window_sites=sites)
    fill_soundscapes(document, facts)
    return document


@pytest.mark.parametrize(
    ("labels", "sites", "shares", "judge", "said"),
    [
        (None, 0, RECORDINGS_ALONE, "recordings", ""),
        ("w.csv", 0, RECORDINGS_ALONE, "recordings", "w.csv: windows at 0 sites examine, but do not teach"),
        ("w.csv", 1, RECORDINGS_ALONE, "recordings", "w.csv: windows at 1 site examine, but do not teach"),
        ("w.csv", 2, {"recordings": 0.9, "soundscapes": 0.1}, "recordings", "teach (one clip in 10)\n"),
        ("w.csv", 3, {"recordings": 0.9, "soundscapes": 0.1}, "both", "teach (one clip in 10) and judge epochs\n"),
    ],
)
def test_windows_teach_and_judge_where_their_sites_suffice(
    labels: str | None, sites: int, shares: dict[str, float], judge: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = filled(labels, sites)["train"]
    for name in recipes:
        recipe = completed(name, recipes)
        assert (recipe["sampling"]["shares"], recipe["judge"]) == (shares, judge), "all recipes start from baseline"
    assert said in capsys.readouterr().out
