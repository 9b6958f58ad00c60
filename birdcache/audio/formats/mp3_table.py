"""The table that encoders put into a first frame without sound: Xing or Info, with LAME's part, or VBRI."""

from __future__ import annotations

from typing import NamedTuple

from birdcache.audio.formats.mp3_frames import Kind

XING, VBRI = (b"Xing", b"Info"), b"VBRI"
HAS_FRAMES, HAS_BYTES, HAS_PLACES, HAS_QUALITY = 1, 2, 4, 8
VBRI_AT = 36
DECODER_DELAY = 529  # samples that any decoder of layer III puts in front; libmpg123 leaves them out where a table is
MOST_BYTES = 192  # of a frame that matter: side information, numbers, places, and LAME's part


class Table(NamedTuple):
    """Facts that a table tells; 0 where it does not.

    Attributes
    ----------
    frames, size : frames behind it, and bytes from its own beginning on.
    skipped, surplus : samples that are no sound in front of it and behind it, by LAME's part, and as libmpg123 counts.
    """

    frames: int
    size: int
    skipped: int = 0
    surplus: int = 0


def table_in(frame: bytes, kind: Kind) -> Table | None:
    """The table in a frame of layer III, if there is one."""
    if kind.layer != 3:
        return None
    if frame[VBRI_AT : VBRI_AT + 4] == VBRI and len(frame) >= VBRI_AT + 18:
        return Table(_number(frame, VBRI_AT + 14), _number(frame, VBRI_AT + 10))
    place = 4 + kind.side_bytes
    if frame[place : place + 4] not in XING or len(frame) < place + 8:
        return None
    flags, place = _number(frame, place + 4), place + 8
    frames = size = 0
    if flags & HAS_FRAMES:
        frames, place = _number(frame, place), place + 4
    if flags & HAS_BYTES:
        size, place = _number(frame, place), place + 4
    place += 100 * bool(flags & HAS_PLACES) + 4 * bool(flags & HAS_QUALITY)
    lame = frame[place : place + 24]
    if frames == 0:
        return Table(frames, size)
    both = int.from_bytes(lame[21:24], "big") if len(lame) == 24 and lame[0] else 0  # encoder's delay and padding
    return Table(frames, size, DECODER_DELAY + (both >> 12), max(0, (both & 4095) - DECODER_DELAY))


def _number(frame: bytes, place: int) -> int:
    return int.from_bytes(frame[place : place + 4], "big")
