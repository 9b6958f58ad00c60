"""Quantised spectrograms of audio files, as stores hold them. T frame, M mel bin."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from birdcache.audio.decoder import Decoder
from birdcache.audio.read import waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.views import MelView, PcenView, View
from birdcache.storage import AnyPath
from cache.mel import accept_filters, packed_filters
from cache.quantize import QuantizedArray, Quantizer
from pipeline.builder.frontend import room, spectrogram_blocks, value_range

VIEW: TypeAdapter[Any] = TypeAdapter(View)


def quantizer_of(view: MelView | PcenView) -> Quantizer:
    """Quantizer of the values of a view.

    Raises
    ------
    ValueError
        If the view's numbers do not go together.
    """
    return Quantizer(view.dtype, *value_range(view))


def quantized_blocks(
    path: AnyPath,
    view: MelView | PcenView,
    sha256: str | None = None,
    silence: bool = False,
    read_as: str | None = None,
) -> Iterator[QuantizedArray]:
    """Decode, transform and encode a recording in pieces (T, M).

    Parameters
    ----------
    sha256 : the content that stage `recordings` saw, or None to accept any.
    silence : whether a silent recording is accepted.
    read_as : as of `birdcache.audio.read.AudioInfo`, or None to find it out.

    Raises
    ------
    RejectedAudio
        If the file cannot be read, has changed, fails validation, or does not decode to what it promises: where
        that shows, after the good pieces before it.
    """
    quantizer = quantizer_of(view)
    with np.errstate(over="ignore", invalid="ignore"):
        waveform = waveform_blocks(path, view.sample_rate_hz, sha256, room(view), silence, read_as)
        for values in spectrogram_blocks(waveform, view):
            if not np.isfinite(values).all():
                raise RejectedAudio("not-finite", "its spectrogram holds values that are not finite numbers")
            yield quantizer.encode(values)


def decode_quantized(
    decoder: Decoder,
    path: AnyPath,
    view: MelView | PcenView,
    duration_s: float,
    sha256: str | None = None,
    silence: bool = False,
    read_as: str | None = None,
) -> Iterator[QuantizedArray]:
    """As `quantized_blocks`, in a decoder's process, for a recording whose header promises this duration.

    Raises
    ------
    RejectedAudio
        As there; crashed, timed-out or out-of-memory besides.
    """
    facts = {"view": view.model_dump(mode="json"), "filters": packed_filters(view)}
    arguments = {**facts, "sha256": sha256, "silence": silence, "read_as": read_as}
    return decoder.arrays(quantized_from_json, path, arguments, duration_s, view.dtype, (view.n_mels,))


def quantized_from_json(
    path: AnyPath, view: dict[str, Any], filters: str, sha256: str | None, silence: bool, read_as: str | None
) -> Iterator[QuantizedArray]:
    """`quantized_blocks` for a view as JSON and its `cache.mel.packed_filters`."""
    validated = VIEW.validate_python(view)
    accept_filters(validated, filters)
    return quantized_blocks(path, validated, sha256, silence, read_as)
