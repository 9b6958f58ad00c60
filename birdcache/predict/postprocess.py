"""From scores of clips to scores of windows, and their post-processing. Pure arrays, no network.

N clip, W window of one soundscape, K class. A clip speaks for the `window_s` around its middle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from birdcache.arrays import Floats32, Floats64
from birdcache.errors import CommandError
from birdcache.predict.calibrator import UNCALIBRATED, Calibrator

Kernel = float | Sequence[float]


@dataclass(frozen=True)
class Cutting:
    """The clips of a long recording to score: one every `hop_s`, and each again moved by each of `shifts_s`."""

    window_s: float
    hop_s: float
    shifts_s: tuple[float, ...] = ()

    @property
    def moves_s(self) -> tuple[float, ...]:
        """The distances by which clips are moved: 0, and each shift."""
        return (0.0, *self.shifts_s)

    def middles_s(self, duration_s: float) -> Floats64:
        """Middles of the clips that are not moved, (N,): the first and the last are those of their windows."""
        last_s = (windows_in(duration_s, self.window_s) - 1) * self.window_s
        count = math.ceil(last_s / self.hop_s - 1e-9) + 1
        return np.asarray(self.window_s / 2 + np.minimum(np.arange(count) * self.hop_s, last_s), np.float64)

    def moved_middles_s(self, duration_s: float) -> Floats64:
        """Middles of all clips, as they are and moved by each shift: (S, N)."""
        return np.asarray(self.middles_s(duration_s) + np.array(self.moves_s)[:, None])


def cutting_keys(window_s: float, hop_s: float, overlap_s: float | None) -> dict[str, float]:
    """What other windows, or clips that overlap by `overlap_s`, make of an ensemble or a bundle: keys, new values."""
    if overlap_s is not None and overlap_s > window_s - 0.1:
        raise CommandError(f"--overlap {overlap_s:g}: must be at most {window_s - 0.1:g}, less than a window")
    return {"window_s": window_s, "hop_s": min(hop_s, window_s) if overlap_s is None else window_s - overlap_s}


@dataclass(frozen=True)
class PostProcessing:
    """Post-processing of the windows of one soundscape."""

    smoothing: Kernel | Sequence[Sequence[float]]  # of all classes, or the taps of each, all as many
    file_max: float
    calibrator: Calibrator = UNCALIBRATED
    top_k: int = 1

    def __call__(self, scores_WK: Floats32) -> Floats32:
        """Calibrate, smooth over time, then multiply by the maximum of the soundscape."""
        return times_file_maximum(smoothed(self.calibrator(scores_WK), self.smoothing), self.file_max, self.top_k)

    def thresholds(self, thresholds_K: Floats32) -> Floats32:
        """Thresholds of scores as thresholds of what the file's maximum makes of them.

        A window that is the maximum of its soundscape is then detected as it were without.
        """
        return np.asarray(thresholds_K ** (1 + self.file_max), np.float32)


def windows_in(duration_s: float, window_s: float) -> int:
    """The number of windows in a recording; a rest of over a tenth of a window counts as one."""
    return max(1, math.ceil(duration_s / window_s - 0.1))


def window_scores(middle_s: Floats64, scores_NK: Floats32, windows: int, window_s: float) -> Floats32:
    """Scores of windows: (W, K), the mean of the clips that overlap each, weighted by the overlap.

    Parameters
    ----------
    middle_s : (N,) middles of the clips, each at most a window from the next.
    scores_NK : (N, K), or (N, ...).
    """
    begin = np.round(middle_s / window_s - 0.5, 9)  # in windows; what is not a whole number by rounding alone is one
    first = np.floor(begin).astype(np.int64)
    sums = np.zeros((windows, *scores_NK.shape[1:]))
    weights = np.zeros(windows)
    for window, overlap in ((first, first + 1 - begin), (first + 1, begin - first)):
        inside = (window >= 0) & (window < windows) & (overlap > 0)
        np.add.at(weights, window[inside], overlap[inside])
        np.add.at(sums, window[inside], _column(overlap[inside], scores_NK) * scores_NK[inside])
    return np.asarray(sums / _column(weights, scores_NK), np.float32)


def _column(values: Floats64, like: Floats32) -> Floats64:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def nearest_clips(middle_s: Floats64, scores_NK: Floats32, windows: int, window_s: float) -> Floats32:
    """Scores of windows by one clip alone, whose middle is nearest: (W, K)."""
    wanted_s = (np.arange(windows) + 0.5) * window_s
    after = np.searchsorted(middle_s, wanted_s).clip(0, len(middle_s) - 1)
    before = np.maximum(after - 1, 0)
    nearer = wanted_s - middle_s[before] <= middle_s[after] - wanted_s
    return np.asarray(scores_NK[np.where(nearer, before, after)])


def taps_of(kernel: Kernel) -> Sequence[float]:
    """The taps of a kernel, of which a number is the share in [share, 1 - 2 share, share]."""
    return kernel if isinstance(kernel, Sequence) else (kernel, 1 - 2 * kernel, kernel)


def padded(kernels: Sequence[Kernel]) -> list[list[float]]:
    """The taps of each kernel, with zeros before and after them, so that all have as many as the longest."""
    taps = [taps_of(kernel) for kernel in kernels]
    rests = [(max(map(len, taps)) - len(each)) // 2 for each in taps]
    return [[*[0.0] * rest, *each, *[0.0] * rest] for each, rest in zip(taps, rests, strict=True)]


def smoothed(scores_WK: Floats32, kernel: Kernel | Sequence[Sequence[float]]) -> Floats32:
    """Mean of each window and its neighbours, weighted by the taps of a kernel, or of each class's own.

    At the ends, where a neighbour is missing, the rest of the kernel is scaled to one. Source: [0.1, 0.8, 0.1], as
    BirdCLEF's winners do.
    """
    taps = np.asarray(kernel if isinstance(kernel, Sequence) else taps_of(kernel), np.float32).T  # (taps,) or (taps, K)
    middle = len(taps) // 2
    sums, weights = taps[middle] * scores_WK, np.zeros((len(scores_WK), 1), np.float32) + taps[middle]
    for away in range(1, middle + 1):
        before, after = taps[middle - away], taps[middle + away]
        sums[away:] += before * scores_WK[:-away]
        sums[:-away] += after * scores_WK[away:]
        weights[away:] += before
        weights[:-away] += after
    return np.asarray(np.divide(sums, weights, out=scores_WK.copy(), where=weights > 0), np.float32)


def times_file_maximum(scores_WK: Floats32, power: float, top_k: int = 1) -> Floats32:
    """Scores times (the soundscape's maximum of their class) ** power: a species that sings clearly once is likelier.

    Of `top_k` highest windows the mean, or of all if there are fewer. Source: BirdCLEF's winners.
    """
    if power == 0 or not len(scores_WK):
        return scores_WK
    return np.asarray(scores_WK * np.sort(scores_WK, axis=0)[-top_k:].mean(axis=0) ** power, np.float32)


def by_soundscape(post: PostProcessing, scores_WK: Floats32, windows: Sequence[int]) -> Floats32:
    """Post-process the windows of several soundscapes that follow each other, `windows` of each."""
    ends = np.cumsum(windows)[:-1]
    return np.concatenate([scores_WK[:0], *(post(part) for part in np.split(scores_WK, ends) if len(part))])
