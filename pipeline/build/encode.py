"""From an audio file to the codes that a store holds of it. T frame, M mel bin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from birdcache.audio.read import waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.views import MelView, PcenView
from birdcache.storage import AnyPath
from cache.quantize import QuantizedArray, Quantizer
from pipeline.build.frontend import room, spectrogram_blocks, value_range


def quantizer_of(view: MelView | PcenView) -> Quantizer:
    """How the values of a view are stored.

    Raises
    ------
    ValueError
        If the view's numbers do not go together.
    """
    return Quantizer(view.dtype, *value_range(view))


def quantized_blocks(
    path: AnyPath, view: MelView | PcenView, sha256: str | None = None, silence: bool = False
) -> Iterator[QuantizedArray]:
    """Decode, transform and encode a recording in pieces (T, M).

    Parameters
    ----------
    sha256 : the content that stage `recordings` saw, or None to accept any.
    silence : whether a silent recording is accepted.

    Raises
    ------
    Refusal
        If the file cannot be read, has changed, does not pass the gate, or does not decode to what it promises: where
        that shows, after the good pieces before it.
    """
    quantizer = quantizer_of(view)
    with np.errstate(over="ignore", invalid="ignore"):
        waveform = waveform_blocks(path, view.sample_rate_hz, sha256, room(view), silence)
        for values in spectrogram_blocks(waveform, view):
            if not np.isfinite(values).all():
                raise RejectedAudio("not-finite", "its spectrogram holds values that are not finite numbers")
            yield quantizer.encode(values)
