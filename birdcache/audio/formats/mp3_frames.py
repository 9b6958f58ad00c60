"""The four bytes that begin each frame of MPEG audio.

Sources: ISO 11172-3, section 2.4.2.3; ISO 13818-3; MPEG 2.5 is Fraunhofer's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

MPEG1, RESERVED, MONO = 3, 1, 3
RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
KBITS = {  # by MPEG 1 or not, and layer; the first is free format, whose frames are all of one length that none names
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


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

    @property
    def slot(self) -> int:
        """Bytes that lengths are counted in, and that padding adds."""
        return 4 if self.layer == 1 else 1

    def length(self, kbits: int) -> int:
        """Bytes of a frame without padding."""
        return self.samples // 8 // self.slot * kbits * 1000 // self.rate_hz * self.slot

    @property
    def side_bytes(self) -> int:
        """Bytes between header and sound in layer III; encoders put their table behind them."""
        short, long = (17, 32) if self.version == MPEG1 else (9, 17)
        return short if self.channels == 1 else long


class Frame(NamedTuple):
    """A frame's header: its kind, its length without padding (0 in free format), and its padding, in bytes."""

    kind: Kind
    length: int
    padding: int


@lru_cache(maxsize=4096)
def frame_of(head: bytes) -> Frame | None:
    """The frame that these four bytes begin, if they begin one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, rate_hz = head[2] >> 4, head[2] >> 2 & 3
    if version == RESERVED or layer == 4 or rate == 15 or rate_hz == 3:
        return None
    kind = Kind(version, layer, RATES_HZ[version][rate_hz], 1 if head[3] >> 6 == MONO else 2)
    kbits = KBITS[version == MPEG1, layer][rate]
    return Frame(kind, kind.length(kbits), kind.slot if head[2] & 2 else 0)
