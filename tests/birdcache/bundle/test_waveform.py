"""Rows of samples out of a waveform that arrives in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from birdcache.bundle.format import OUTSIDE, Input
from birdcache.bundle.scores import WaveformRows

Floats = npt.NDArray[np.float32]
WAVE = np.arange(1, 101, dtype=np.float32)


def pieces(size: int, taken: list[int] | None = None) -> Iterator[Floats]:
    for begin in range(0, len(WAVE), size):
        if taken is not None:
            taken.append(begin)
        yield WAVE[begin : begin + size]


@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_rows_are_the_samples_whatever_the_pieces(size: int) -> None:
    rows = WaveformRows(pieces(size), len(WAVE))
    for begin in (0, 3, 3, 50, 61, 80):
        assert rows.row(begin, 20).tolist() == WAVE[begin : begin + 20].tolist()


def test_what_lies_outside_is_marked_but_the_sample_behind_the_end_is_silence() -> None:
    rows = WaveformRows(pieces(7), len(WAVE))
    assert rows.row(-3, 5).tolist() == [*[np.float32(OUTSIDE)] * 3, 1, 2]
    assert rows.row(98, 5).tolist() == [99, 100, 0, *[np.float32(OUTSIDE)] * 2]
    assert rows.row(100, 2).tolist() == [0, np.float32(OUTSIDE)]
    assert rows.row(101, 2).tolist() == [np.float32(OUTSIDE)] * 2


def test_no_more_is_decoded_and_held_than_a_row_needs() -> None:
    taken: list[int] = []
    rows = WaveformRows(pieces(10, taken), len(WAVE))
    rows.row(0, 25)
    assert taken == [0, 10, 20]
    rows.row(40, 5)
    assert len(rows._held) <= 20
    rows.drain()
    assert taken[-1] == 90


def test_a_row_begins_before_the_frames_of_its_clip() -> None:
    wanted = Input(name="x", sample_rate_hz=16000, hop=100, clip_frames=5, context_frames=3, margin=256)
    assert wanted.samples == 7 * 100 + 512
    assert wanted.begin(0) == -300 - 256
    assert wanted.begin(10) == 700 - 256
