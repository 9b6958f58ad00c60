"""Rows of samples for the graph, cut from a recording that is decoded meanwhile. S sample."""

from collections.abc import Iterator

import numpy as np

from birdcache.arrays import Floats32
from birdcache.bundle.format import OUTSIDE


class WaveformRows:
    """Cuts rows that begin ever later out of a waveform that arrives in pieces; holds no more than a row needs."""

    def __init__(self, pieces: Iterator[Floats32], samples: int) -> None:
        """Rows of a recording of so many samples."""
        self._pieces, self._samples = pieces, samples
        self._held, self._begin = np.empty(0, np.float32), 0

    def row(self, begin: int, length: int) -> Floats32:
        """Samples `begin` to `begin + length`, (S,); outside the recording they are OUTSIDE.

        The sample right behind the last one counts as silence: a frame may have its middle there.

        Parameters
        ----------
        begin : not before that of an earlier row.
        """
        first, last = max(begin, 0), min(begin + length, self._samples)
        self._hold(first, last)
        row_S = np.full(length, OUTSIDE, np.float32)
        if last > first:
            row_S[first - begin : last - begin] = self._held[first - self._begin : last - self._begin]
        if begin <= self._samples < begin + length:
            row_S[self._samples - begin] = 0.0
        return row_S

    def drain(self) -> None:
        """Decode what is left, so that the decoder can judge the whole file."""
        for _ in self._pieces:
            pass

    def _hold(self, first: int, last: int) -> None:
        """Decode up to sample `last`, and let go of what lies before `first`."""
        pieces, end = [self._held], self._begin + len(self._held)
        while end < last and (piece_S := next(self._pieces, None)) is not None:
            pieces.append(piece_S)
            end += len(piece_S)
        held_S = np.concatenate(pieces)
        spare = min(max(first - self._begin, 0), len(held_S))
        self._held, self._begin = held_S[spare:], self._begin + spare
