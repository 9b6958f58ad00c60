"""Lists of species: what they may look like, and what they do to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache.arrays import Floats32
from birdcache.errors import PipelineError
from birdcache.predict.species import SpeciesList, read_species, taxonomy_of, week_of

TAXONOMY = pd.DataFrame(
    {"scientific_name": ["Turdus merula", "Parus major", ""], "common_name": ["Eurasian Blackbird", "Great Tit", ""]},
    index=["eurbla", "gretit1", "1139490"],
)
ONES = np.ones((2, 3), np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "marsh.csv"


def read(path: Path, text: str, weight: float = 1.0) -> SpeciesList:
    path.write_text(text, encoding="utf-8")
    return read_species(path, TAXONOMY, weight)[0]


@pytest.mark.parametrize(
    "text",
    [
        "eurbla\n1139490\n",
        "Turdus merula\n\n1139490\n",
        "Turdus merula_Eurasian Blackbird\r\n1139490\r\n",
        "EURASIAN BLACKBIRD\n1139490",
        "species\neurbla\n1139490\n",
        "class,Species\nbird,Turdus merula\ninsect,1139490\n",
        "species;share\neurbla;1\n1139490;1\n",
    ],
)
def test_a_species_is_named_by_label_or_name_in_a_list_or_table(path: Path, text: str) -> None:
    assert read(path, text)(ONES, "dawn").tolist() == [[1, 0, 1]] * 2


def test_species_that_are_no_class_are_counted(path: Path) -> None:
    path.write_text("eurbla\nParus ater_Coal Tit\nkea\n")
    _, warnings = read_species(path, TAXONOMY, 1.0)
    assert len(warnings) == 1
    assert "2 of 3 species" in warnings[0]
    assert "first 'Parus ater_Coal Tit'" in warnings[0]


def test_the_weight_says_how_much_a_share_counts(path: Path) -> None:
    text = "species,share\neurbla,0.5\ngretit1,1\n"
    assert read(path, text, 0.5)(ONES, "dawn")[0] == pytest.approx([0.75, 1.0, 0.5])
    assert read(path, text, 0.0)(ONES, "dawn")[0] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S08_20250501_030007", [0.5, 0, 0]),
        ("S08_20250531_030007", [0.5, 0, 0]),
        ("S08_20250601_030007", [0, 1, 0]),
        ("2025-06-09", [0, 1, 0]),
        ("2025-06-22", [0, 0, 0]),
        ("20250101", [0, 0, 0]),
        ("dawn", [0.5, 1, 0]),  # the greatest of the year
    ],
)
def test_shares_are_those_of_the_week_or_month(path: Path, name: str, expected: list[float]) -> None:
    table = "species,week,month,share\neurbla,,5,0.5\ngretit1,21,,0.25\ngretit1,21,,1\ngretit1,22,,1\n"
    assert read(path, table)(ONES, name)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "week"),
    [
        ("BC2026_Train_0001_S08_20250606_030007", 21),
        ("20251231_235959", 48),
        ("x_2025-01-08", 2),
        ("rec120250606", None),
        ("20251331", None),
        ("dawn", None),
    ],
)
def test_the_week_is_that_of_the_first_date_in_a_name(name: str, week: int | None) -> None:
    assert week_of(name) == week


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "names no species"),
        ("species\n", "names no species"),
        ("kea\nkaka\n", "none of 2 species of .*first 'kea'"),
        ("species,share\neurbla,2\n", r"row 2: share must be a number from 0 to 1"),
        ("species,share\neurbla,many\n", r"row 2: share"),
        ("species,week\neurbla,49\n", r"row 2: week must be 1 to 48"),
        ("species,week\neurbla,1.5\n", r"row 2: week"),
        ("species,month\neurbla,0\n", r"row 2: month must be 1 to 12"),
        ("species,week,month\neurbla,1,1\n", r"row 2: has a week and a month"),
        ("species,share\n,1\n", r"row 2: species is empty"),
        ("\0\1\2", "no printable text"),
    ],
)
def test_a_list_that_breaks_a_rule_is_refused_by_its_row(path: Path, text: str, rule: str) -> None:
    with pytest.raises(PipelineError, match=rule):
        read(path, text)


def test_a_list_that_is_missing_is_named(path: Path) -> None:
    with pytest.raises(PipelineError, match=r"marsh.csv"):
        read_species(path, TAXONOMY, 1.0)


def test_a_bundle_knows_common_names_only_and_not_of_all() -> None:
    found = taxonomy_of(["a", "b"], {"b": "Kea"})
    assert found["common_name"].to_dict() == {"a": "", "b": "Kea"}


def test_scores_are_not_changed_in_place(path: Path) -> None:
    scores: Floats32 = ONES.copy()
    read(path, "eurbla\n")(scores, "dawn")
    assert np.array_equal(scores, ONES)
