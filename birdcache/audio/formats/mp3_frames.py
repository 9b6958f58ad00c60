"""The four bytes that begin each frame of MPEG audio, and the table that encoders put into a first one without sound.

Tables are Xing or Info, with LAME's part, or VBRI. Sources: ISO 11172-3, section 2.4.2.3; ISO 13818-3; MPEG 2.5 is
Fraunhofer's own.
"""

from functools import lru_cache
from typing import NamedTuple

MPEG1, RESERVED, MONO = 3, 1, 3
RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
KBITS = {  # by MPEG 1 or not, and layer; 0 is free format, which is refused
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
XING, VBRI = (b"Xing", b"Info"), b"VBRI"
HAS_FRAMES, HAS_BYTES, HAS_PLACES, HAS_QUALITY = 1, 2, 4, 8
VBRI_AT = 36
DECODER_DELAY = 529  # samples that any decoder of layer III puts in front; libmpg123 leaves them out where a table is
MOST_BYTES = 192  # of a frame that matter: side information, numbers, places, and LAME's part


class Kind(NamedTuple):
    """Facts that all frames of one sound share."""

    version: int
    layer: int
    rate_hz: int
    channels: int

    @property
    def samples(self) -> int:
        """Samples of each channel in a frame."""
        if self.layer == 1:
            return 384
        return 1152 if self.layer == 2 or self.version == MPEG1 else 576


class Frame(NamedTuple):
    """A frame's header: its kind, and its length in bytes."""

    kind: Kind
    length: int


@lru_cache(maxsize=4096)
def frame_of(head: bytes) -> Frame | None:
    """The frame that these four bytes begin, if they begin one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, rate_hz = head[2] >> 4, head[2] >> 2 & 3
    if version == RESERVED or layer == 4 or rate in (0, 15) or rate_hz == 3:
        return None
    kind = Kind(version, layer, RATES_HZ[version][rate_hz], 1 if head[3] >> 6 == MONO else 2)
    slot = 4 if layer == 1 else 1  # bytes that lengths are counted in, and that padding adds
    slots = kind.samples // 8 // slot * KBITS[version == MPEG1, layer][rate] * 1000 // kind.rate_hz
    return Frame(kind, (slots + (head[2] >> 1 & 1)) * slot)


class Table(NamedTuple):
    """Facts that a table tells; 0 where it does not."""

    frames: int  # behind it
    size: int  # bytes from its own beginning on
    skipped: int = 0  # samples in front of the sound, by LAME's part and as libmpg123 counts
    surplus: int = 0  # samples behind it, likewise


def table_in(frame: bytes, kind: Kind) -> Table | None:
    """The table in a frame of layer III, if there is one."""
    if kind.layer != 3:
        return None
    if frame[VBRI_AT : VBRI_AT + 4] == VBRI and len(frame) >= VBRI_AT + 18:
        return Table(_number(frame, VBRI_AT + 14), _number(frame, VBRI_AT + 10))
    short, long = (17, 32) if kind.version == MPEG1 else (9, 17)  # bytes behind the header, then the table
    place = 4 + (short if kind.channels == 1 else long)
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
