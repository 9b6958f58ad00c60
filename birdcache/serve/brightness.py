"""Brightness of spectrograms, in the report and by `birdcache serve`."""

import numpy as np

from birdcache.arrays import Floats32

SHOWN_PERCENT = (10.0, 99.8)  # of the values, from the darkest to the brightest


def brightness(values: Floats32) -> Floats32:
    """From 0, dark, to 1, bright: what is quieter or louder than `SHOWN_PERCENT` of all is shown like these."""
    low, high = np.percentile(values, SHOWN_PERCENT)
    return np.asarray(((values - low) / max(high - low, 1e-6)).clip(0, 1), np.float32)
