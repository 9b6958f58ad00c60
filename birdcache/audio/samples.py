"""Checks of decoded sound: as many samples as promised, finite, of a sane loudness, and not silent. S sample."""

import math

import numpy as np

from birdcache.arrays import Floats32
from birdcache.audio.rejected import RejectedAudio

LOUDEST = 100.0  # times full scale: float recorders and lossy codecs go a little beyond 1, unscaled integers far
QUIETEST = 1e-5  # -100 dB, under the smallest step of 16 bits: the floor of a stored spectrogram


class SampleCheck:
    """Checks the blocks of one recording as they are decoded, at its own rate; what fails raises `RejectedAudio`."""

    def __init__(self, promised: int, silence: bool = False) -> None:
        """A check of so many samples as were promised, which may be silent or not."""
        self._promised, self._silence = promised, silence
        self._decoded, self._lowest, self._highest = 0, math.inf, -math.inf

    def take(self, block_S: Floats32) -> None:
        """Check the samples of the next block, which is not empty."""
        with np.errstate(invalid="ignore"):
            lowest, highest = float(block_S.min()), float(block_S.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise RejectedAudio("not-finite", "holds samples that are not finite numbers")
        if max(-lowest, highest) > LOUDEST:
            raise RejectedAudio(
                "damaged",
                f"reaches {max(-lowest, highest):.3g} times full scale",
                "scale unscaled numbers to +-1, fetch it again, or remove it",
            )
        self._lowest, self._highest = min(lowest, self._lowest), max(highest, self._highest)
        self._decoded += len(block_S)

    def finish(self) -> None:
        """Check the whole, once there are no more blocks: that none is missing, and that there is something to hear."""
        if self._decoded < self._promised:
            raise RejectedAudio("damaged", f"promises {self._promised} samples but {self._decoded} decode")
        if not self._silence and self._highest - self._lowest < QUIETEST:
            raise RejectedAudio(
                "silent", "is silent: no sample differs from another by more than -100 dB of full scale"
            )
