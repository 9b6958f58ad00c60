"""FLAC files, counted frame by frame: the total in their header is left open by writers to a pipe, and may be wrong.

Frames have checksums, which the decoder compares. Source: RFC 9639, sections 8 and 9.
"""

from typing import BinaryIO

from birdcache.audio.formats.flac_frames import FlacWalk
from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.formats.pieces import Reading, Window
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

STREAM_INFO, STREAM_INFO_BYTES = 0, 34
NAME_BYTES = HEAD_BYTES = 4
TOTAL = 2**36 - 1  # the bits of the number of samples


def probe_flac(file: BinaryIO) -> AudioHeader:
    """Walk the metadata and the frames of a FLAC file, from its first byte."""
    window = Window(file)
    head, info = window(NAME_BYTES, HEAD_BYTES), window(NAME_BYTES + HEAD_BYTES, STREAM_INFO_BYTES)
    if len(head) == HEAD_BYTES and (head[0] & 127, int.from_bytes(head[1:], "big")) != (STREAM_INFO, STREAM_INFO_BYTES):
        raise RejectedAudio("damaged", "its metadata does not begin with STREAMINFO")
    if len(info) < STREAM_INFO_BYTES:
        raise RejectedAudio("truncated", "ends within its metadata")
    packed = int.from_bytes(info[10:18], "big")  # rate 20 bits, channels - 1 3 bits, bits - 1 5 bits, samples 36 bits
    rate_hz, channels, total = packed >> 44, (packed >> 41 & 7) + 1, packed & TOTAL
    check_shape(rate_hz, channels)
    walk = FlacWalk(window, _behind_metadata(window), channels)
    if walk.frames < total:
        raise RejectedAudio("truncated", f"promises {total} samples, but {walk.frames} are there")
    notes, reading = [], None
    if walk.behind:
        notes.append(Note("bytes-around", f"{walk.behind} bytes behind its sound"))
    if walk.frames != total:
        known = (packed & ~TOTAL | walk.frames & TOTAL).to_bytes(8, "big")
        lead = window(0, NAME_BYTES + HEAD_BYTES) + info[:10] + known + info[18:]
        reading = Reading(((len(lead), window.size),), lead)
    if walk.frames != total > 0:
        notes.append(Note("wrong-length", f"its header says {total} samples, and {walk.frames} are there"))
    return AudioHeader(rate_hz, channels, walk.frames, total > 0, tuple(notes), reading)


def _behind_metadata(window: Window) -> int:
    """The place where the first frame must begin."""
    place, is_last = NAME_BYTES, False
    while not is_last:
        head = window(place, HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            raise RejectedAudio("truncated", "ends within its metadata")
        is_last = bool(head[0] & 128)
        place += HEAD_BYTES + int.from_bytes(head[1:], "big")
    if place >= window.size:
        raise RejectedAudio("truncated", "ends before its first sound")
    return place
