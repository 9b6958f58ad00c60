"""The check that an Ogg file is one whole stream: libsndfile hides lost pages and decodes the rest of a cut file."""

from dataclasses import replace
from typing import BinaryIO

from birdcache.audio.formats.header import AudioHeader, check_length
from birdcache.audio.formats.ogg_codecs import Identity, identify
from birdcache.audio.formats.ogg_pages import CAPTURE, CONTINUED, FIRST, LAST, Page, read_pages
from birdcache.audio.formats.pieces import BLOCK_BYTES, Reading, Window
from birdcache.audio.formats.tags import behind_tags
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

UNBROKEN = 255  # the length of a segment whose packet goes on in the next one
NOTHING_ENDS = -1  # the position of a page on which no packet ends
SEQUENCES = 2**32


def probe_ogg(file: BinaryIO) -> AudioHeader:
    """Walk all pages of an Ogg file, from its first byte."""
    pages = read_pages(file)
    first = next(pages, None)
    if first is None:
        raise RejectedAudio("damaged", "at byte 0, where a page must begin, there is none")
    stream = _Stream(first)
    for page in pages:
        stream.take(page)
    header, window = stream.audio_header(), Window(file)
    end = stream.last.end
    behind = window.size - end
    if not behind:
        return header
    if not header.ended and behind_tags(window, end) < window.size:
        raise RejectedAudio("damaged", f"at byte {end}, where a page must begin, there is none")
    if CAPTURE in window(end, BLOCK_BYTES):
        raise RejectedAudio("chained", f"pages begin again behind byte {end}, where its sound ends")
    note = Note("bytes-around", f"{behind} bytes behind its sound")
    return replace(header, notes=(note,), opening=b"", reading=Reading(((0, end),)))


class _Stream:
    """A logical stream, page after page."""

    def __init__(self, page: Page) -> None:
        if not page.flags & FIRST:
            raise RejectedAudio("damaged", "its beginning is missing: the first page does not begin a stream")
        self._identity: Identity = identify(page)
        self._packets, self._position, self._within_packet = 1, 0, False
        self._before, self.last = 0, page
        self._begin, self._headers, self._sound = page.body, b"", page

    def take(self, page: Page) -> None:
        """Check the next page against those before it."""
        last, at = self.last, page.offset
        if page.flags & FIRST:
            raise RejectedAudio("chained", f"another stream begins at byte {at}")
        if page.serial != last.serial:
            raise RejectedAudio("damaged", f"the page at byte {at} belongs to another stream")
        if last.flags & LAST:
            raise RejectedAudio("damaged", f"goes on at byte {at}, after the page that says to be the last")
        if page.sequence != (last.sequence + 1) % SEQUENCES:
            raise RejectedAudio("damaged", f"page {page.sequence} at byte {at} follows page {last.sequence}")
        if bool(page.flags & CONTINUED) != self._within_packet:
            raise RejectedAudio("damaged", f"the page at byte {at} does not go on where the one before it ends")
        if page.granule != NOTHING_ENDS and page.granule < self._position:
            raise RejectedAudio("damaged", f"time goes back from {self._position} to {page.granule} at byte {at}")
        if self._packets < self._identity.header_packets:
            self._headers += page.body
        elif self._packets == self._identity.header_packets and not self._within_packet:
            self._sound = page
        self._before, self._position = self._position, max(self._position, page.granule)
        self._packets += len(page.lacing) - page.lacing.count(UNBROKEN)
        if page.lacing:
            self._within_packet = page.lacing[-1] == UNBROKEN
        self.last = page

    def audio_header(self) -> AudioHeader:
        """The header of the whole stream, once all its pages are taken."""
        ended = bool(self.last.flags & LAST)
        if self._within_packet:
            raise RejectedAudio("damaged" if ended else "truncated", "ends within a packet")
        identity = self._identity
        if self._packets <= identity.header_packets and not ended:
            raise RejectedAudio("truncated", "ends before its first sound")
        held, passed = identity.samples(self._headers, self.last), self._position - self._before
        if passed < held - identity.blocks[1]:  # of Vorbis, where a packet adds half a long block at most
            raise RejectedAudio("damaged", f"its last page ends {passed} samples on, but holds {held}")
        frames = self._position - identity.skipped
        check_length(frames if self._packets > identity.header_packets else 0, identity.sample_rate_hz)
        is_last = self.last.granule == self._position
        opening = identity.opening(self._begin, self._headers, self._sound) if is_last else b""
        return AudioHeader(identity.sample_rate_hz, identity.channels, frames, ended=ended, opening=opening)
