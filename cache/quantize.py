"""Quantised values: float16 as they are, or uint8 on an even grid over the front end's range."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from birdcache.arrays import Bytes, Floats32

FILL_CODE = 255  # uint8 code that no value takes: what lies behind the last frame of a part
TOP_CODE = 254
FLOAT16_MAX = float(np.finfo(np.float16).max)

QuantizedArray = npt.NDArray[np.float16] | Bytes


@dataclass(frozen=True)
class Quantizer:
    """Values <-> quantised values. `low` and `high` bound the values; uint8 rounds to a step of (high - low) / 254.

    A ValueError if float16 cannot hold values up to `high`.
    """

    dtype: Literal["float16", "uint8"]
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.dtype == "float16" and self.high > FLOAT16_MAX:
            raise ValueError(
                f"values reach {self.high:.3g}, float16 ends at {FLOAT16_MAX:g}; raise pcen.gain or lower pcen.power"
            )

    @property
    def step(self) -> float:
        """Distance of neighbouring uint8 codes, in the values' unit."""
        return (self.high - self.low) / TOP_CODE

    @property
    def fill(self) -> int:
        """Code of the rows that belong to no recording."""
        return FILL_CODE if self.dtype == "uint8" else 0

    def encode(self, values: Floats32) -> QuantizedArray:
        """Round and quantise values.

        Parameters
        ----------
        values : float32 of any shape, no NaN. uint8 clips them to [low, high], float16 only to what it can hold.

        Returns
        -------
        float16 (relative error at most 2**-11, absolute at most 2**-25 below 2**-14) or uint8 (absolute error at most
        step / 2).
        """
        if self.dtype == "float16":
            return np.clip(values, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
        scaled = np.clip((values - np.float32(self.low)) / np.float32(self.step), 0, TOP_CODE)
        quantized: Bytes = np.rint(scaled).astype(np.uint8)
        return quantized

    def decode(self, quantized: QuantizedArray) -> Floats32:
        """Quantised values back to float32 values."""
        values: Floats32 = quantized.astype(np.float32)
        if self.dtype == "uint8":
            values *= np.float32(self.step)
            values += np.float32(self.low)
        return values
