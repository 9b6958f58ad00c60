"""The header of a FLAC file. Its frames have checksums, which the decoder compares.

Source: RFC 9639, section 8.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from birdcache.audio.formats.header import AudioHeader, check_length, check_shape
from birdcache.audio.rejected import RejectedAudio

STREAM_INFO, STREAM_INFO_BYTES = 0, 34


def probe_flac(file: BinaryIO) -> AudioHeader:
    """Read the metadata of a FLAC file whose `fLaC` has just been read.

    Raises
    ------
    RejectedAudio
        truncated, damaged, wrong-codec or too-long.
    """
    head = file.read(4)
    if len(head) == 4 and (head[0] & 127, int.from_bytes(head[1:], "big")) != (STREAM_INFO, STREAM_INFO_BYTES):
        raise RejectedAudio("damaged", "its metadata does not begin with STREAMINFO")
    info = file.read(STREAM_INFO_BYTES)
    if len(info) < STREAM_INFO_BYTES:
        raise RejectedAudio("truncated", "ends within its metadata")
    _skip_metadata(file, is_last=bool(head[0] & 128))
    packed = int.from_bytes(info[10:18], "big")  # rate 20 bits, channels - 1 3 bits, bits - 1 5 bits, samples 36 bits
    rate_hz, channels, frames = packed >> 44, (packed >> 41 & 7) + 1, packed & (2**36 - 1)
    check_shape(rate_hz, channels)
    if frames == 0:
        return AudioHeader(rate_hz, channels, None, whole=False, ended=False)
    check_length(frames, rate_hz)
    return AudioHeader(rate_hz, channels, frames, whole=False)


def _skip_metadata(file: BinaryIO, is_last: bool) -> None:
    size = os.fstat(file.fileno()).st_size
    while not is_last:
        head = file.read(4)
        if len(head) < 4:
            raise RejectedAudio("truncated", "ends within its metadata")
        is_last = bool(head[0] & 128)
        file.seek(int.from_bytes(head[1:], "big"), os.SEEK_CUR)
    if file.tell() >= size:
        raise RejectedAudio("truncated", "ends before its first sound")
