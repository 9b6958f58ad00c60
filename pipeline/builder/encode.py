"""Quantised spectrograms of audio files, as stores hold them. T frame, M mel bin."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from birdcache.audio.decoder import LIMITS, Decoder, Request, decoder
from birdcache.audio.read import DECODER_VERSION, waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.embedding import StoredEmbedding
from birdcache.params.views import StoredView
from birdcache.storage import AnyPath
from cache.keys import view_digest
from cache.mel import packed_view, unpacked_view
from cache.quantize import FLOAT16_MAX, QuantizedArray, Quantizer
from pipeline.builder.embedding import embedded_blocks, embedding_version, limits, packed_network, unpacked_network
from pipeline.builder.frontend import FRONTEND_VERSION, room, spectrogram_blocks, value_range


def digest_of(view: StoredView) -> str:
    """Digest of a view and of the code and libraries that decide its stores' bytes."""
    version = embedding_version() if isinstance(view, StoredEmbedding) else FRONTEND_VERSION
    return view_digest(view, version, DECODER_VERSION)


@lru_cache(maxsize=16)
def quantizer_of(view: StoredView) -> Quantizer:
    """Quantizer of the values of a view; a ValueError if the view's numbers do not go together."""
    if isinstance(view, StoredEmbedding):
        return Quantizer(view.dtype, -FLOAT16_MAX, FLOAT16_MAX)
    return Quantizer(view.dtype, *value_range(view))


def quantized_blocks(
    path: AnyPath, context: str, sha256: str | None = None, silence: bool = False, read_as: str | None = None
) -> Iterator[QuantizedArray]:
    """Decode, transform and encode a recording in pieces (T, M).

    A RejectedAudio if the file cannot be read, has changed, fails validation, or does not decode to what it promises:
    where that shows, after the good pieces before it.

    Parameters
    ----------
    context : `packed_view` of the view.
    sha256 : the content that stage `recordings` saw, or None to accept any.
    silence : whether a silent recording is accepted.
    read_as : as of `birdcache.audio.read.AudioInfo`, or None to find it out.
    """
    view = unpacked_view(context)
    quantizer = quantizer_of(view)
    with np.errstate(over="ignore", invalid="ignore"):
        waveform = waveform_blocks(path, view.sample_rate_hz, sha256, room(view), silence, read_as)
        for values in spectrogram_blocks(waveform, view):
            if not np.isfinite(values).all():
                raise RejectedAudio("not-finite", "its spectrogram holds values that are not finite numbers")
            yield quantizer.encode(values)


def decode_quantized(
    decoder: Decoder, request: Request, duration_s: float, following: Request | None = None
) -> Iterator[QuantizedArray]:
    """`quantized_blocks` in a decoder's process, for a recording whose header promises this duration.

    A RejectedAudio as there; crashed, timed-out or out-of-memory besides.

    Parameters
    ----------
    request, following : `quantized_request` of the recording, and of the one that will be asked for next.
    """
    view = (unpacked_network if request.function is embedded_blocks else unpacked_view)(request.context)
    return decoder.arrays(request, duration_s, view.dtype, (view.n_mels,), following)


def decoder_of(view: StoredView) -> Decoder:
    """The decoder's process for a view, with the limits that its network needs, if it has one."""
    return decoder(limits(view) if isinstance(view, StoredEmbedding) else LIMITS)


def quantized_request(
    path: AnyPath, view: StoredView, sha256: str | None = None, silence: bool = False, read_as: str | None = None
) -> Request:
    """The request for a recording's `quantized_blocks`."""
    arguments = {"sha256": sha256, "silence": silence, "read_as": read_as}
    if isinstance(view, StoredEmbedding):
        return Request(embedded_blocks, path, arguments, packed_network(view))
    return Request(quantized_blocks, path, arguments, packed_view(view))
