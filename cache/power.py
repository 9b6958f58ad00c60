"""What the front end and the trainer must agree on to go from power to decibels or PCEN, and back."""

from __future__ import annotations

import math

POWER_FLOOR = 1e-10  # -100 dB: below the quantisation noise of 16-bit audio in one mel bin
PCEN_SCALE = 2.0**31  # PCEN's constants are made for integer audio (librosa.pcen)


def smoothing_coefficient(time_constant_frames: float) -> float:
    """Coefficient b of PCEN's smoother m[t] = (1 - b) m[t-1] + b e[t] (as librosa.pcen derives it)."""
    square = time_constant_frames**2
    return (math.sqrt(1 + 4 * square) - 1) / (2 * square)
