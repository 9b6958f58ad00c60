"""How channels become one: by their mean, or, where they cancel each other in it, by the loudest. S sample, C channel.

Channels in opposite phase come from wiring and differential recorders: their mean is silence, or noise without the
bird. Alone, the loudest of C channels would leave 1 / C**2 of its power in the mean; where less than a quarter of that
is left, in a block, the block cancels. Two powers are compared, each with its own blindness: that of the samples, in
which wind hides birds, and that of their differences, in which hiss does.
"""

import numpy as np

from birdcache.arrays import Floats32

LEFT = 0.25  # of what the loudest channel alone would leave in the mean
SHARE = 0.1  # of a recording's power, in blocks that cancel
ALIKE = 0.9  # of the greatest power: the first such channel is taken, on every machine
CHANNEL = "channel "


class Mixing:
    """Powers of one recording's channels and of their mean, block after block."""

    def __init__(self, channels: int) -> None:
        self._power_C = np.zeros(channels)
        self._total, self._lost = np.zeros(2), np.zeros(2)

    def take(self, samples_SC: Floats32) -> None:
        """Take the next block."""
        with np.errstate(all="ignore"):  # samples that are no numbers are refused later, in better words
            samples_CS = np.ascontiguousarray(samples_SC.T)
            samples_CS -= samples_CS.mean(axis=1, keepdims=True)
            for which, change_CS in enumerate((samples_CS, np.diff(samples_CS))):
                products_CC = np.asarray(change_CS @ change_CS.T, dtype=np.float64)  # of each channel with each
                power_C = products_CC.diagonal()
                self._total[which] += power_C.max()
                if products_CC.sum() < LEFT * power_C.max():  # the mean's power is the sum / C**2
                    self._lost[which] += power_C.max()
            self._power_C += power_C

    def read_as(self) -> str:
        """How the recording is read: "" for the mean, `channel <number>` for the loudest, counted from 1."""
        if not (self._lost > SHARE * self._total).any():
            return ""
        return f"{CHANNEL}{1 + int(np.argmax(self._power_C >= ALIKE * self._power_C.max()))}"


def channel_of(read_as: str) -> int | None:
    """The channel that is taken, from 0; None for the mean of all."""
    return int(read_as.rpartition(CHANNEL)[2]) - 1 if CHANNEL in read_as else None


def mean_of_channels(samples_SC: Floats32, out_S: Floats32) -> None:
    """Write the mean of the channels (S,), summed as numpy does: few one after the other, but no loop a sample."""
    channels = samples_SC.shape[1]
    if channels >= 8:  # which numpy sums in pairs
        samples_SC.mean(axis=1, out=out_S)
        return
    np.add(samples_SC[:, 0], 0, out=out_S)
    for channel in range(1, channels):
        out_S += samples_SC[:, channel]
    out_S /= channels
