"""Validation of a file before a decoder sees a byte of it. Formats are recognised by content, not by name."""

from __future__ import annotations

from typing import BinaryIO

from birdcache.audio.formats.flac import probe_flac
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.mp3 import is_frame, probe_mp3
from birdcache.audio.formats.ogg import probe_ogg
from birdcache.audio.formats.wav import probe_wav
from birdcache.audio.rejected import RejectedAudio

OGG, FLAC, TAG = b"OggS", b"fLaC", b"ID3"
WAV = (b"RIFF", b"RIFX", b"RF64")
OTHERS = {
    b"FORM": "AIFF",
    b".snd": "Sun audio",
    b"caff": "Core Audio",
    b"riff": "Wave64",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"0&\xb2u": "Windows Media",
}
MOST_TAGS = 8


def probe(file: BinaryIO) -> AudioHeader:
    """The header of a file that is whole and intact as far as its format shows; the file's position moves.

    Parameters
    ----------
    file
        Open in binary mode, unbuffered or not, with a descriptor.

    Raises
    ------
    RejectedAudio
        empty, not-audio, truncated, damaged, chained, wrong-codec or too-long.
    """
    head = _head(file, 0)
    if not head:
        raise RejectedAudio("empty", "is empty (0 bytes)")
    if OGG.startswith(head[:4]):
        return probe_ogg(file)
    if head[:4] in WAV and head[8:] == b"WAVE":
        return probe_wav(file)
    start = _behind_tags(file, head)
    head = _head(file, start)
    if head[:4] == FLAC:
        file.seek(start + 4)
        return probe_flac(file)
    if is_frame(head[:4]):
        return probe_mp3(file)
    raise _unknown(head, tagged=start > 0)


def _head(file: BinaryIO, start: int) -> bytes:
    """The twelve bytes from `start` on, which is the file's place then."""
    file.seek(start)
    head = file.read(12)
    file.seek(start)
    return head


def _behind_tags(file: BinaryIO, head: bytes) -> int:
    """The beginning of the sound behind ID3 tags, which hold their size in four bytes of seven bits."""
    start = 0
    for _ in range(MOST_TAGS):
        if head[:3] != TAG or len(head) < 10:
            break
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 + size + (10 if head[5] & 16 else 0)
        head = _head(file, start)
    return start


def _unknown(head: bytes, tagged: bool) -> RejectedAudio:
    if not head and tagged:
        return RejectedAudio("truncated", "ends within or behind its ID3 tag")
    name = "MP4" if head[4:8] == b"ftyp" else OTHERS.get(head[:4])
    if name is not None:
        return RejectedAudio("wrong-codec", f"holds {name}")
    return RejectedAudio("not-audio", f"is not audio of a known format (it begins with {head[:8]!r})")
