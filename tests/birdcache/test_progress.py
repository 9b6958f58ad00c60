"""The lines that long work writes off a terminal."""

from __future__ import annotations

import io

import pytest

from birdcache.progress import Progress


class Clock:
    """A clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr("birdcache.progress.time.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_line_every_ten_seconds_and_one_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(1_200_000, "base-0", "clips", stream) as shown:
        for _ in range(12):
            clock.now_s += 5
            shown.update(100_000)
    assert stream.getvalue().splitlines() == [
        "base-0: 200,000/1,200,000 clips, 20,000.0/s, 00:50 left",
        "base-0: 400,000/1,200,000 clips, 20,000.0/s, 00:40 left",
        "base-0: 600,000/1,200,000 clips, 20,000.0/s, 00:30 left",
        "base-0: 800,000/1,200,000 clips, 20,000.0/s, 00:20 left",
        "base-0: 1,000,000/1,200,000 clips, 20,000.0/s, 00:10 left",
        "base-0: 1,200,000/1,200,000 clips, 20,000.0/s in 01:00",
    ]


def test_what_was_finished_before_does_not_count_for_the_rate(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(100, "base-0", "clips", stream, done=60) as shown:
        clock.now_s += 10
        shown.update(20)
    assert stream.getvalue().splitlines()[0] == "base-0: 80/100 clips, 2.0/s, 00:10 left"


def test_work_that_ends_early_has_nothing_left(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(100, "base-0", "clips", stream) as shown:
        shown.update(50)
        clock.now_s += 5
    assert stream.getvalue() == "base-0: 50/100 clips, 10.0/s in 00:05\n"


def test_work_that_fails_says_nothing_more(clock: Clock) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), Progress(100, "base-0", "clips", stream):
        raise KeyError
    assert stream.getvalue() == ""
