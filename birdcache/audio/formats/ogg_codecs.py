"""The codec that an Ogg stream names on its first page, and its facts of the sound.

Sources: Vorbis I specification, sections 4.2.2 and 5.2; RFC 7845 (Opus), section 5.1.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache

import soundfile

from birdcache.audio.formats.header import check_shape
from birdcache.audio.formats.ogg_pages import CONTINUED, Page
from birdcache.audio.rejected import RejectedAudio

VORBIS, COMMENTS, SETUP, OPUS = b"\x01vorbis", b"\x03vorbis", b"\x05vorbis", b"OpusHead"
VORBIS_HEAD = struct.Struct("<7sIBIiiiBB")  # name, version, channels, rate, three bit rates, block sizes, framing
LENGTH = struct.Struct("<I")
OPUS_HEAD = struct.Struct("<8sBBHI")  # name, version, channels, samples to skip, rate before encoding
MODE_BITS, COUNT_BITS = 41, 6
SETUP_END_BYTES = 512  # the modes fit in
OPUS_HZ = 48_000  # positions count samples at this rate, whatever the sound had
OTHERS = {
    b"\x7fFLAC": "FLAC in Ogg",
    b"Speex   ": "Speex",
    b"\x80theora": "Theora video",
    b"fishead\0": "a Skeleton of several streams",
    b"OVP80": "VP8 video",
}
DECODES_OPUS = "OPUS" in soundfile.available_subtypes("OGG")


@dataclass(frozen=True)
class Identity:
    """A stream's codec: the rate that its positions count in, its channels, and what must come before sound."""

    sample_rate_hz: int
    channels: int
    header_packets: int
    skipped: int = 0
    blocks: tuple[int, int] = (0, 0)  # samples of Vorbis' short and long blocks

    def samples(self, headers: bytes, page: Page, is_first: bool = False) -> int:
        """Samples that the packets of a page of Vorbis hold, at least; 0 if nobody can tell.

        Each packet adds a quarter of its own block and a quarter of the one before, which is taken for a short one
        where it lies on another page. The first packet of all adds nothing.
        """
        long = _long_modes(headers[-SETUP_END_BYTES:]) if self.blocks[1] else ()
        bits, place, before, total = (len(long) - 1).bit_length(), 0, self.blocks[0], 0
        begins = not page.flags & CONTINUED
        for length in page.lacing:
            if begins and length and long:
                mode = page.body[place] >> 1 & (1 << bits) - 1
                block = self.blocks[mode < len(long) and long[mode]]
                total, before, is_first = total + (not is_first) * (before + block) // 4, block, False
            begins, place = length < 255, place + length
        return total

    def opening(self, begin: bytes, headers: bytes, page: Page) -> bytes:
        """What decides how libsndfile opens a stream of Vorbis, but for its serial number and good comments.

        It is known where no time is missing in front of the first page with sound.

        Parameters
        ----------
        begin, headers, page : content of the first page; the other headers; and the page behind them.
        """
        setup = headers[_behind_comments(headers) :]
        is_known = setup.startswith(SETUP) and page.granule == self.samples(headers, page, is_first=True)
        return hashlib.sha256(begin + setup).digest() if is_known else b""


def identify(page: Page) -> Identity:
    """Facts on the first page of a stream."""
    if page.body.startswith(VORBIS):
        return _vorbis(page)
    if page.body.startswith(OPUS) and DECODES_OPUS:
        return _opus(page)
    known = (name for start, name in {**OTHERS, OPUS: "Opus"}.items() if page.body.startswith(start))
    raise RejectedAudio("wrong-codec", f"holds {next(known, 'an unknown codec')} in an Ogg stream")


def _vorbis(page: Page) -> Identity:
    if page.lacing != bytes([VORBIS_HEAD.size]):
        raise RejectedAudio("damaged", f"its Vorbis identity has segments of {list(page.lacing)} bytes, not one of 30")
    _, version, channels, rate_hz, *_, sizes, framing = VORBIS_HEAD.unpack_from(page.body)
    short, long = sizes & 15, sizes >> 4
    if version != 0 or not 6 <= short <= long <= 13 or not framing & 1:
        raise RejectedAudio("damaged", "its Vorbis identity breaks the rules of Vorbis I")
    check_shape(rate_hz, channels)
    return Identity(rate_hz, channels, header_packets=3, blocks=(1 << short, 1 << long))


def _behind_comments(headers: bytes) -> int:
    """The place behind the comments, with which the headers begin; 0 if they break the rules of Vorbis I."""
    try:
        place = len(COMMENTS) + LENGTH.size + LENGTH.unpack_from(headers, len(COMMENTS))[0]
        (count,), place = LENGTH.unpack_from(headers, place), place + LENGTH.size
        for _ in range(count):
            place += LENGTH.size + LENGTH.unpack_from(headers, place)[0]
    except struct.error:
        return 0
    return place + 1 if headers.startswith(COMMENTS) and headers[place : place + 1] == b"\1" else 0


@lru_cache
def _long_modes(end: bytes) -> tuple[bool, ...]:
    """Whether each mode of a Vorbis stream has long blocks, read from the end of its setup; none if that is not clear.

    Modes are its last entries, of 41 bits: a flag, 32 zeros, and a number below 64; in front of them is their number,
    less one, in six bits, and behind them one set bit.
    """
    flags: list[bool] = []
    found: tuple[bool, ...] = ()
    content = int.from_bytes(end, "little")
    place = content.bit_length() - 1
    while (place := place - MODE_BITS) >= COUNT_BITS:
        mode = content >> place & (1 << MODE_BITS) - 1
        if mode >> 1 & 0xFFFFFFFF or mode >> 33 > 63:
            break
        flags.insert(0, bool(mode & 1))
        if content >> place - COUNT_BITS & 63 == len(flags) - 1:
            found = tuple(flags)
    return found


def _opus(page: Page) -> Identity:
    if len(page.lacing) != 1 or page.lacing[0] < 19:
        raise RejectedAudio(
            "damaged", f"its Opus identity has segments of {list(page.lacing)} bytes, not one of 19 or more"
        )
    _, version, channels, skipped, _ = OPUS_HEAD.unpack_from(page.body)
    if version >> 4 != 0:
        raise RejectedAudio("wrong-codec", f"holds Opus of version {version}")
    check_shape(OPUS_HZ, channels)
    return Identity(OPUS_HZ, channels, header_packets=2, skipped=skipped)
