"""Site, date and time of soundscapes, by names, folders, comments, and a pattern of one's own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from pipeline.dataset.places import read_places

AUDIOMOTH = (
    "Recorded at 05:20:00 04/09/2019 (UTC) by AudioMoth 24F319055FDF2902 at gain setting 2 while battery state was"
)
DEPLOYED = "Recorded at 21:05:30 19/03/2020 (UTC+2) during deployment A5FA5DB9E0C0B2F7 at medium gain while 4.0V."
GUANO = "GUANO|Version: 1.0\nTimestamp: 2017-04-25T02:35:09-05:00\nLoc Position: 1.0 2.0\nSerial: SM4-0077\n"


def one(name: str, comment: str = "", pattern: str | None = None) -> tuple[str, ...]:
    (row,) = read_places([name], [comment], pattern, pytest.fail).itertuples(index=False, name=None)
    return tuple(row)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("20190904_052000", ("", "2019-09-04", "05:20:00")),
        ("A01/20190904_052000", ("A01", "2019-09-04", "05:20:00")),
        ("A01/20190904_052000T", ("A01", "2019-09-04", "05:20:00")),  # AudioMoth's trigger
        ("ridge/20190904/20190904_052000", ("ridge", "2019-09-04", "05:20:00")),  # a folder for each day
        ("ridge/Data/20190904_052000", ("ridge", "2019-09-04", "05:20:00")),
        ("24F319055FDF2902_20190904_052000", ("24F319055FDF2902", "2019-09-04", "05:20:00")),
        ("7019_COR_20190904", ("COR", "2019-09-04", "")),
        ("BC2026_Train_0001_S08_20250606_030007", ("S08", "2025-06-06", "03:00:07")),
        ("BC2026_Test_0412_S11_20250606_030007", ("S11", "2025-06-06", "03:00:07")),
        ("S4A01234_20190904_052000", ("S4A01234", "2019-09-04", "05:20:00")),
        ("NORTH_MARSH_20190904_052000", ("NORTH_MARSH", "2019-09-04", "05:20:00")),
        ("SM2_0+1_20190904_052000_000", ("SM2_0+1", "2019-09-04", "05:20:00")),
        ("20190904T052000+0200_Ridge", ("", "2019-09-04", "05:20:00")),
        ("soundscape_10003", ("", "", "")),
        ("soundscape_453028782", ("", "", "")),
        ("19700101_000000", ("", "", "00:00:00")),  # a clock that was never set
        ("A01/20190904_256000", ("A01", "2019-09-04", "")),
    ],
)
def test_names_and_folders_tell_site_date_and_time(name: str, place: tuple[str, ...]) -> None:
    assert one(name) == place


@pytest.mark.parametrize(
    ("comment", "place"),
    [
        (AUDIOMOTH, ("24F319055FDF2902", "2019-09-04", "05:20:00")),
        (DEPLOYED, ("A5FA5DB9E0C0B2F7", "2020-03-19", "21:05:30")),
        (GUANO, ("SM4-0077", "2017-04-25", "02:35:09")),
        ("made with love", ("", "", "")),
    ],
)
def test_comments_of_recorders_tell_what_names_do_not(comment: str, place: tuple[str, ...]) -> None:
    assert one("dawn", comment) == place


def test_names_come_before_comments() -> None:
    assert one("A01/20210101_060000", AUDIOMOTH) == ("A01", "2021-01-01", "06:00:00")
    assert one("20210101_060000", AUDIOMOTH) == ("24F319055FDF2902", "2021-01-01", "06:00:00")


def test_a_pattern_of_ones_own_comes_first() -> None:
    pattern = r"^(?P<site>[^/]+)/.*_(?P<date>\d{4}-\d\d-\d\d)T(?P<time>\d{4})"
    assert one("ridge/rec_2019-09-04T0520", pattern=pattern) == ("ridge", "2019-09-04", "05:20:00")
    assert one("X_20190904_052000", pattern="(?P<site>^.)") == ("X", "2019-09-04", "05:20:00")


def test_names_that_the_pattern_does_not_match_are_counted_and_none_at_all_is_refused() -> None:
    warnings: list[str] = []
    table = read_places(["a_1", "b_20190904_052000"], ["", ""], "(?P<site>^a)_1", warnings.append)
    assert list(table["site"]) == ["a", "b"]
    told = "1 of 2 soundscapes are not matched by data.soundscape_names, first 'b_20190904_052000'; correct it"
    assert [warning.startswith(told) for warning in warnings] == [True]
    with pytest.raises(
        PipelineError, match=r"none of 1 soundscapes is matched by data.soundscape_names, first 'dawn'.*null"
    ):
        read_places(["dawn"], [""], "(?P<site>dusk)", warnings.append)


def test_days_that_are_none_are_told() -> None:
    warnings: list[str] = []
    table = read_places(["A_20190231_052000"], [""], None, warnings.append)
    assert list(table["date"]) == [""]
    assert "1 of 1 dates cannot be read, such as '20190231'" in warnings[0]


def test_no_soundscape_has_no_place() -> None:
    assert list(read_places([], [], "(?P<site>x)", pytest.fail).columns) == ["site", "date", "time"]


@pytest.mark.parametrize("pattern", ["(", "[A-Z]+", "(?P<time>x)", "(?P<site>x)(?P<year>y)", "(?P<site>" + "x" * 200])
def test_a_pattern_that_tells_no_place_is_refused(pattern: str) -> None:
    data = {
        **{"layout": "birdclef", "root": "r", "annotations": "a", "soundscapes": "s", "soundscape_truth": None},
        **{"links": "inside", "shortest_s": 0.5, "longest_s": 10.0, "no_end": "refuse", "max_refused_share": 0.1},
    }
    assert DataParams.model_validate({**data, "soundscape_names": "(?P<date>x)"}).soundscape_names == "(?P<date>x)"
    with pytest.raises(ValidationError, match=r"must be a regular expression with groups|at most 200"):
        DataParams.model_validate({**data, "soundscape_names": pattern})
