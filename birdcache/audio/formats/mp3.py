"""MPEG audio (MP3, and layers I and II), counted frame by frame: what a table in its first frame says is no promise.

libmpg123 guesses the length of a file without such a table, and libsndfile decodes no further. So the frames are
counted here, from the first to the last, past all that is none, and libsndfile is shown them alone, as the beginning of
something far longer. Sources: ISO 11172-3, section 2.4.2.3; ISO 13818-3; the tables of Xing, LAME and Fraunhofer (VBRI)
as their authors describe them.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.mp3_frames import MOST_BYTES, Kind, Table, frame_of, table_in
from birdcache.audio.formats.pieces import BLOCK_BYTES, Reading, Window
from birdcache.audio.formats.tags import before_tags, behind_tags, behind_zeros
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

OWN_FRAME = 1  # some tables count their own
READ_AS = "counted"  # before, files without a table were cut, and low bit rates had noise where blocks meet
HEAD_BYTES = 4
FIRST_WITHIN = 2**20  # bytes before the first frame, but for tags and zeros: behind more there is no MPEG audio
SURE_FRAMES, SURE_OF_A_KIND = 3, 2  # in a row: fewer may be a chance, unless it is known what must come
ZEROS = bytes(16)
HEAD = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]", re.DOTALL)


class Walk:
    """All frames of a file.

    Attributes
    ----------
    kind, spans, count : what all frames share, where those with sound lie, and their number.
    table, table_at : what the first frame says of the others, if it has a table, and its place.
    cut : whether the file ends within a frame.
    has_gaps : whether zeros or unknown bytes lie behind or between frames, where there may have been others.
    notes : what lies around the frames.
    """

    def __init__(self, window: Window, start: int) -> None:
        """Walk from `start` on."""
        self._window, self._end = window, before_tags(window)
        self.spans: list[tuple[int, int]] = []
        self.notes: list[Note] = []
        self._lengths: set[int] = set()
        self.table: Table | None = None
        self.count, self.cut, self.has_gaps, self._joints, self._last = 0, False, False, 0, 0
        place = self.table_at = self._first(start)
        first = frame_of(window(place, HEAD_BYTES))
        assert first is not None
        self.kind = first.kind
        if place > start:
            self._note(start, place, "before its first frame")
        while place < self._end and not self.cut:
            length = self._length(place, self.kind)
            if not length:
                place = self._pass_over(place)
            elif place + length > self._end:
                self.cut = True
            else:
                self._take(place, length)
                place += length
        if self._joints:
            self.notes.append(Note("joined", f"{self._joints} tables or tags lie between its frames"))

    def _take(self, place: int, length: int) -> None:
        """Note a frame; one with a table holds no sound."""
        self._last = place
        table = table_in(self._window(place, min(length, MOST_BYTES)), self.kind)
        if table is not None:
            if place == self.table_at:
                self.table = table
            else:
                self._joints += 1
            return
        self.count += 1
        self._lengths.add(length)
        if self.spans and self.spans[-1][1] == place:
            self.spans[-1] = self.spans[-1][0], place + length
        else:
            self.spans.append((place, place + length))

    def _pass_over(self, place: int) -> int:
        """The place of the next frame where none follows the last one, or the end."""
        known, zeros = self._behind_known(place)
        is_last = known >= self._end
        if is_last or self._length(known, self.kind):
            following = min(known, self._end)
            if zeros:
                self.has_gaps = True
                self._note(place, following, "behind its last frame" if is_last else "between frames")
            self._joints += not (zeros or is_last)
            return following
        found = next(self._sure(self.kind, self._last + HEAD_BYTES, self._end), self._end)
        rest = self._window(known, HEAD_BYTES)
        if found == self._end and self._end - known < HEAD_BYTES and rest[:1] == b"\xff":
            self.cut = True
            return found
        is_frame = found < place or found - self._last in self._lengths
        if found - known in self._lengths:
            alike = sum(a == b for a, b in zip(rest, self._window(self._last, HEAD_BYTES), strict=False))
            is_frame |= found < self._end or alike >= HEAD_BYTES // 2
        for other in self._sure(None, known, found):
            raise RejectedAudio("chained", f"sound of another kind begins at byte {other}")
        if is_frame or (zeros and found < self._end):
            raise RejectedAudio("damaged", f"the frame at byte {self._last} or the next one is broken")
        self.has_gaps = True
        self._note(place, found, "between frames" if found < self._end else "behind its last frame")
        return found

    def _note(self, place: int, end: int, where: str) -> None:
        self.notes.append(Note("bytes-around", f"{end - place} bytes at byte {place}, {where}"))

    def _behind_known(self, place: int) -> tuple[int, bool]:
        """The place behind tags and zeros, and whether there are zeros; it may lie past the end."""
        begin, zeros = -1, False
        while begin < place < self._end:
            begin = place
            tagged = behind_tags(self._window, place)
            tagged = tagged if tagged <= self._end else place  # its length is wrong, and sound may follow
            place = behind_zeros(self._window, tagged)
            zeros |= place > tagged
        return place, zeros

    def _first(self, start: int) -> int:
        """The place of the first frame."""
        place, _ = self._behind_known(start)
        frame = frame_of(self._window(place, HEAD_BYTES))
        if frame is not None and self._is_sure(place, frame.kind):
            return place
        for found in self._sure(None, place, place + FIRST_WITHIN):
            return found
        if frame is not None and frame.kind.layer == 3 and place + frame.length > self._end:
            raise RejectedAudio("truncated", "ends within its first frame")
        begin = self._window(start, 8)
        raise RejectedAudio("not-audio", f"is not audio of a known format (it begins with {begin!r})")

    def _sure(self, kind: Kind | None, place: int, end: int) -> Iterator[int]:
        """Places from one on where several frames of a kind, or the last ones, follow one another."""
        while place < min(end, self._end):
            block = self._window(place, BLOCK_BYTES)
            for match in HEAD.finditer(block):
                at = place + match.start()
                if at < end and self._is_sure(at, kind):
                    yield at
            place += max(1, len(block) - HEAD_BYTES)

    def _is_sure(self, place: int, kind: Kind | None) -> bool:
        first = frame_of(self._window(place, HEAD_BYTES))
        if first is None or kind not in (None, first.kind):
            return False
        for count in range(SURE_FRAMES if kind is None else SURE_OF_A_KIND):
            length = self._length(place, first.kind)
            if not length or place + length > self._end:
                is_known = behind_tags(self._window, place) > place or self._window(place, len(ZEROS)) == ZEROS
                return count > 0 and (length > 0 or place == self._end or is_known)
            place += length
        return True

    def _length(self, place: int, kind: Kind) -> int:
        """Bytes of the frame of this kind that begins at a place; 0 if none does."""
        frame = frame_of(self._window(place, HEAD_BYTES))
        return frame.length if frame is not None and frame.kind == kind else 0


def probe_mp3(file: BinaryIO, start: int) -> AudioHeader:
    """Count all frames; the first one begins at `start`, or behind bytes that are none."""
    window = Window(file)
    walk = Walk(window, start)
    table = walk.table or Table(0, 0)
    missing = table.frames - walk.count if table.frames else 0
    _check_promise(table, missing, walk, window.size - walk.table_at)
    if missing:
        walk.notes.append(Note("wrong-length", f"its table says {table.frames} frames, and {walk.count} follow"))
    surplus = 0 if missing else table.surplus
    frames = walk.count * walk.kind.samples - table.skipped - surplus
    spans = walk.spans
    if walk.count == 1:  # libmpg123 believes no frame without a second one
        spans, surplus = spans * 2, surplus + walk.kind.samples
    reading = Reading(tuple(spans), stretched=True, skipped=table.skipped, surplus=surplus)
    ended = not walk.cut or (table.frames > 0 and not missing)
    return AudioHeader(walk.kind.rate_hz, walk.kind.channels, frames, ended, tuple(walk.notes), reading, READ_AS)


def _check_promise(table: Table, missing: int, walk: Walk, there: int) -> None:
    """Refuse a file that is shorter than its table says, unless only the table can be wrong."""
    if missing <= 0 and (table.frames or table.size <= there):
        return
    if table.size > there:
        raise RejectedAudio("truncated", f"promises {table.size} bytes of sound, but {there} follow")
    if missing > OWN_FRAME and walk.has_gaps:
        raise RejectedAudio("damaged", f"its table says {table.frames} frames, but {walk.count} are left")
    if walk.cut or (not table.size and missing > OWN_FRAME):
        raise RejectedAudio("truncated", f"promises {table.frames} frames of sound, but {walk.count} follow")
