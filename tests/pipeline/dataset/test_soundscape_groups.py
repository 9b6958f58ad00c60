"""Folds of soundscapes: sites stay whole, windows and labels are spread evenly, too few sites are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from birdcache.params.sections import FoldsParams
from pipeline.dataset.soundscape_groups import even_folds, fold_contents, split_soundscapes, summarise_soundscapes


def make_params(**changes: object) -> FoldsParams:
    plain = {"count": 3, "train": [0], "seed": 1, "use_ready": True, "fewest_to_validate": 4}
    return FoldsParams.model_validate(plain | changes)


def soundscapes(*places: tuple[str, str], **columns: Any) -> pd.DataFrame:
    """A table like data/tables/soundscapes.csv, of sites and dates."""
    names = [f"s{number:02d}" for number in range(len(places))]
    plain = {"soundscape": names, "sound": names, "sha256": names, "duration_s": 60.0, "time": ""}
    site, date = zip(*places, strict=True)
    return pd.DataFrame(plain | {"site": site, "date": date} | columns)


def windows(*labels: list[str]) -> pd.DataFrame:
    """Windows of 5 s of soundscapes s00, s01 ..., in each of which these labels are heard."""
    rows = [
        (f"s{number:02d}", 5.0 * place, 5.0 * place + 5, heard)
        for number, each in enumerate(labels)
        for place, heard in enumerate(each)
    ]
    return pd.DataFrame(rows, columns=["soundscape", "start_s", "end_s", "labels"])


def split(places: pd.DataFrame, apart: str = "site", count: int = 3) -> list[int]:
    table = windows(*[["robin"]] * len(places))
    return list(split_soundscapes(places, table, make_params(soundscapes=apart, count=count))["group"])


DAYS = soundscapes(
    ("A", "2019-09-04"), ("A", "2019-09-05"), ("B", "2019-09-04"), ("", "2019-09-04"), ("", ""), ("", "")
)


def test_a_site_is_one_group_and_unknown_sites_are_parted_by_day() -> None:
    assert split(DAYS) == [0, 0, 1, 2, 3, 4]
    assert split(soundscapes(("", "2019-09-04"), ("", "2019-09-04"), ("", ""))) == [0, 0, 1]


def test_sites_are_parted_by_day_where_asked() -> None:
    assert split(DAYS, "site_and_day") == [0, 1, 2, 3, 4, 5]
    same = soundscapes(("A", "2019-09-04"), ("A", "2019-09-04"), ("A", ""), ("A", ""))
    assert split(same, "site_and_day") == [0, 0, 1, 1]


def test_each_soundscape_is_a_group_where_asked_but_for_one_sound() -> None:
    assert split(DAYS, "each") == [0, 1, 2, 3, 4, 5]
    assert split(DAYS.assign(sound=["x", "b", "c", "d", "e", "x"]), "each") == [0, 1, 2, 3, 4, 0]


def test_one_sound_at_two_sites_joins_them() -> None:
    assert split(DAYS.assign(sound=["x", "b", "x", "d", "e", "f"])) == [0, 0, 0, 1, 2, 3]


def test_only_soundscapes_with_windows_have_folds() -> None:
    table = windows(["robin"], [], ["", ""])
    assert list(split_soundscapes(DAYS, table, make_params())["soundscape"]) == ["s00", "s02"]
    assert split_soundscapes(DAYS, table[:0], make_params()).empty


def test_windows_and_labels_are_spread_evenly_over_whole_groups() -> None:
    # six groups of four windows: in pairs robins, wrens and nothing
    counts_GL = np.array([[4, 4, 0], [4, 4, 0], [4, 0, 4], [4, 0, 4], [4, 0, 0], [4, 0, 0]])
    for seed in range(20):
        fold_G = even_folds(counts_GL, 2, seed)
        held_FL = np.array([counts_GL[fold_G == fold].sum(axis=0) for fold in range(2)])
        assert held_FL.tolist() == [[12, 4, 4], [12, 4, 4]], seed


def test_large_groups_part_first_and_small_ones_fill_up() -> None:
    counts_GL = np.array([[1, 1], [6, 6], [2, 2], [3, 3], [4, 4], [2, 2]])
    held = np.bincount(even_folds(counts_GL, 3, 1), weights=counts_GL[:, 0])
    assert sorted(held) == [6, 6, 6]


def test_each_fold_has_a_group_whatever_the_labels_and_the_seed_decides_between_equals() -> None:
    rng = np.random.default_rng(0)
    splits = set()
    for seed in range(50):
        labels_GL = rng.integers(0, 9, (5, 4))
        counts_GL = np.concatenate([labels_GL.max(axis=1, keepdims=True) + 1, labels_GL], axis=1)
        assert len(set(even_folds(counts_GL, 5, seed))) == 5
        splits.add(tuple(even_folds(np.ones((6, 2), int), 3, seed)))
    assert len(splits) > 10
    assert list(even_folds(np.ones((6, 2), int), 3, 7)) == list(even_folds(np.ones((6, 2), int), 3, 7))


def test_contents_and_summary_of_folds() -> None:
    places = soundscapes(("A", ""), ("A", ""), ("B", ""), ("C", ""))
    table = windows(["robin", ""], ["robin wren"], ["robin", "owl", ""], ["", "wren", ""])
    folds = make_params()
    found = split_soundscapes(places, table, folds)
    contents = fold_contents(found, table, 3)
    assert list(contents.columns) == ["soundscapes", "sites", "windows", "window_labels"]
    assert sorted(map(tuple, contents.to_numpy().tolist())) == [(1, 1, 3, 1), (1, 1, 3, 2), (2, 1, 3, 2)]
    report = summarise_soundscapes(found, table, {"robin"}, folds)
    told = "4 soundscapes with 9 labelled windows at 3 sites in 3 folds (folds.soundscapes: site)"
    assert report["summary"] == told
    assert report["warnings"] == [
        "1 label(s) without recordings are heard in windows of one fold alone, first owl: they are examined there "
        "without having been learnt"
    ]
    assert report["by_fold"][0].keys() == {"soundscapes", "sites", "windows", "window_labels"}


def test_fewer_sites_than_folds_and_unknown_sites_are_told() -> None:
    folds = make_params()
    two = soundscapes(("A", ""), ("A", ""), ("B", ""))
    table = windows(["robin"], ["robin"], ["robin"])
    found = split_soundscapes(two, table, folds)
    assert sorted(set(found["fold"])) == [0, 1]
    (warning,) = summarise_soundscapes(found, table, {"robin"}, folds)["warnings"]
    assert warning.startswith("2 group(s) of soundscapes (folds.soundscapes: site) are fewer than 3 folds: ")
    assert "no window examines fold 2; " in warning
    unknown = soundscapes(("A", ""), ("", ""), ("", ""))
    found = split_soundscapes(unknown, table, folds)
    (warning,) = summarise_soundscapes(found, table, {"robin"}, folds)["warnings"]
    assert warning.startswith("the site of 2 of 3 soundscapes with windows is not known, first s01: only those of one")
    assert summarise_soundscapes(found, table, {"robin"}, make_params(soundscapes="each"))["warnings"] == []


def test_uneven_sites_are_told() -> None:
    places = soundscapes(("A", ""), ("B", ""), ("C", ""))
    table = windows(["robin"] * 9, ["robin"], ["robin"])
    found = split_soundscapes(places, table, make_params())
    (warning,) = summarise_soundscapes(found, table, {"robin"}, make_params())["warnings"]
    assert warning.startswith("the folds are uneven, 1 to 9 labelled windows: some sites have many")


@pytest.mark.parametrize("apart", ["site", "site_and_day", "each"])
def test_no_windows_say_nothing(apart: str) -> None:
    folds = make_params(soundscapes=apart)
    none = windows()
    report = summarise_soundscapes(split_soundscapes(DAYS, none, folds), none, set(), folds)
    assert report["warnings"] == []
    assert report["by_fold"][2] == {"soundscapes": 0, "sites": 0, "windows": 0, "window_labels": 0}
