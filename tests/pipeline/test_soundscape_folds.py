"""Folds of soundscapes: sites stay whole, windows and labels are spread evenly, too few sites are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from birdcache.params.sections import FoldsParams
from pipeline.dataset.fold_summary import soundscape_rows, summarise_soundscapes
from pipeline.folds import split_soundscapes


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


def held_of(table: pd.DataFrame, count: int, seed: int) -> list[list[int]]:
    """Windows, and windows with robins and wrens, in each fold, sorted."""
    places = soundscapes(*[(str(number), "") for number in range(table["soundscape"].nunique())])
    fold = split_soundscapes(places, table, make_params(count=count, seed=seed)).set_index("soundscape")["fold"]
    heard = table.assign(fold=table["soundscape"].map(fold))
    counts = [
        heard.assign(n=heard["labels"].str.contains(label)).groupby("fold")["n"].sum() for label in ("", "r", "w")
    ]
    return sorted(np.transpose(counts).tolist())


def test_windows_and_labels_are_spread_evenly_over_whole_groups() -> None:
    table = windows(["robin"] * 4, ["robin"] * 4, ["wen"] * 4, ["wen"] * 4, [""] * 4, [""] * 4)
    for seed in range(10):
        (fewer, *heard), (more, *also_heard) = held_of(table, 2, seed)
        assert heard == also_heard == [4, 4], seed
        assert (fewer, more) in ((12, 12), (8, 16)), seed  # a silent site may come last


def test_large_sites_part_first_and_small_ones_fill_up() -> None:
    table = windows(*[["robin"] * count for count in (1, 6, 2, 3, 4, 2)])
    assert held_of(table, 3, 1) == [[6, 6, 0]] * 3


def test_each_fold_has_a_site_whatever_the_labels_and_the_seed_decides_between_equals() -> None:
    rng = np.random.default_rng(0)
    splits = set()
    for seed in range(30):
        table = windows(*[rng.choice(["", "robin", "wen", "robin wen"], rng.integers(1, 9)).tolist() for _ in range(5)])
        assert len(held_of(table, 5, seed)) == 5
        found = split_soundscapes(DAYS.assign(site=[*"ABCDEF"]), windows(*[["robin"]] * 6), make_params(seed=seed))
        splits.add(tuple(found["fold"]))
    assert len(splits) > 5


def test_contents_and_summary_of_folds() -> None:
    places = soundscapes(("A", ""), ("A", ""), ("B", ""), ("", ""))
    table = windows(["robin", ""], ["robin wren"], ["robin", "owl", ""], ["", "wren", ""])
    found = split_soundscapes(places, table, make_params())
    held = soundscape_rows(found, table, 3)
    assert list(held.columns) == ["soundscapes", "sites", "windows", "window_labels"]
    assert list(held.index) == [-1, 0, 1, 2]
    assert sorted(map(tuple, held.to_numpy().tolist())) == [(0, 0, 0, 0), (1, 0, 3, 1), (1, 1, 3, 2), (2, 1, 3, 2)]
    report = summarise_soundscapes(found, table, make_params())
    assert report["summary"] == "4 soundscapes with 9 labelled windows, 2 sites, in 3 folds (folds.soundscapes: site)"
    (warning,) = report["warnings"]
    assert warning.startswith(
        "the site is not known of 1 of 4 soundscapes with windows, first s03: only those of one day"
    )
    assert summarise_soundscapes(found, table, make_params(soundscapes="each"))["warnings"] == []


def test_fewer_sites_than_folds_are_spread_and_told() -> None:
    table = windows(["robin"], ["robin"], ["robin"])
    found = split_soundscapes(soundscapes(("A", ""), ("A", ""), ("B", "")), table, make_params())
    assert list(found["fold"]) == [0, 0, 1]
    report = summarise_soundscapes(found, table, make_params())
    assert report["summary"].endswith("2 sites, in 2 folds (folds.soundscapes: site)")
    told = "soundscapes with windows are 2 groups (folds.soundscapes: site), fewer than 3 folds: 1 fold has no window"
    assert [warning.startswith(told) for warning in report["warnings"]] == [True]


@pytest.mark.parametrize("apart", ["site", "site_and_day", "each"])
def test_no_windows_say_nothing(apart: str) -> None:
    folds = make_params(soundscapes=apart)
    none = windows()
    found = split_soundscapes(DAYS, none, folds)
    assert summarise_soundscapes(found, none, folds)["warnings"] == []
    assert soundscape_rows(found, none, 3).to_numpy().tolist() == [[0] * 4] * 4
