"""MPEG audio (MP3, and layers I and II), counted frame by frame: what a table in its first frame says is no promise.

libmpg123 guesses the length of a file without such a table, and libsndfile decodes no further. So the frames are
counted here, and libsndfile is shown them alone, as the beginning of something far longer. Sources: ISO 11172-3,
section 2.4.2.3; ISO 13818-3; the tables of Xing, LAME and Fraunhofer (VBRI) as their authors describe them.
"""

from typing import BinaryIO

from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.mp3_frames import Table
from birdcache.audio.formats.mp3_walk import Walk
from birdcache.audio.formats.pieces import Reading, Window
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

OWN_FRAME = 1  # some tables count their own
READ_AS = "counted"  # before, files without a table were cut, and low bit rates had noise where blocks meet


def probe_mp3(file: BinaryIO, start: int) -> AudioHeader:
    """Count all frames; the first one begins at `start`, or behind bytes that are none."""
    window = Window(file)
    walk = Walk(window, start)
    table = walk.table or Table(0, 0)
    missing = table.frames - walk.count if table.frames else 0
    _check_promise(table, missing, walk, window.size - walk.table_at)
    notes = walk.notes
    if missing:
        notes.append(Note("wrong-length", f"its table says {table.frames} frames, and {walk.count} follow"))
    surplus = 0 if missing else table.surplus
    frames = walk.count * walk.kind.samples - table.skipped - surplus
    spans = walk.spans
    if walk.count == 1:  # libmpg123 believes no frame without a second one
        spans, surplus = spans * 2, surplus + walk.kind.samples
    reading = Reading(tuple(spans), stretched=True, skipped=table.skipped, surplus=surplus)
    ended = not walk.cut or (table.frames > 0 and not missing)
    return AudioHeader(walk.kind.rate_hz, walk.kind.channels, frames, ended, tuple(notes), reading, READ_AS)


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
