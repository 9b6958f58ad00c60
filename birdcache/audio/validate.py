"""Validation of a file before a decoder sees a byte of it. Formats are recognised by content, not by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, cast

from birdcache.audio.formats.containers import probe_aiff, probe_caf
from birdcache.audio.formats.flac import probe_flac
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.mp3 import probe_mp3
from birdcache.audio.formats.ogg import probe_ogg
from birdcache.audio.formats.pieces import Pieces, Reading, Window
from birdcache.audio.formats.tags import behind_tags, behind_zeros
from birdcache.audio.formats.wav import probe_wav
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

WAV, AIFF = (b"RIFF", b"RIFX", b"RF64", b"BW64"), (b"AIFF", b"AIFC")
PROBES = {b"OggS": probe_ogg, b"fLaC": probe_flac, b"caff": probe_caf}
OTHERS = {
    **{b"wvpk": "WavPack", b"MAC ": "Monkey's Audio", b"TTA1": "True Audio", b"MPCK": "Musepack", b"MP+": "Musepack"},
    **{b"\x1aE\xdf\xa3": "Matroska or WebM", b"0&\xb2u": "Windows Media", b".RMF": "RealMedia", b"DSD ": "DSD"},
    **{b".snd": "Sun audio", b"dns.": "Sun audio", b"riff": "Wave64"},
    **{b"#!AMR": "AMR", b"\x0bw": "AC-3", b"ADIF": "AAC", b"FLV": "Flash video", b"\0\0\1\xba": "an MPEG video"},
}
AAC = (b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")


def probe(file: BinaryIO) -> AudioHeader:
    """The header of a file that is whole and intact as far as its format shows; the file's position moves.

    A RejectedAudio of code empty, not-audio, truncated, damaged, chained, wrong-codec or too-long.

    Parameters
    ----------
    file : open in binary mode, unbuffered or not, with a descriptor.
    """
    window = Window(file)
    if not window.size:
        raise RejectedAudio("empty", "is empty (0 bytes)")
    tagged = behind_tags(window, 0)
    if tagged >= window.size:
        raise RejectedAudio("truncated", "ends within or behind its ID3 tag")
    _refuse_others(window(tagged, 12))
    start = behind_zeros(window, tagged)
    probe_format = _probe_of(window(start, 12))
    if probe_format is None:
        return probe_mp3(file, tagged)
    if start == 0:
        file.seek(0)
        return probe_format(file)
    whole = Reading(((start, window.size),))
    header = probe_format(cast(BinaryIO, Pieces(file, whole)))
    reading = whole if header.reading is None else header.reading.moved(start)
    note = Note("bytes-around", f"{start} bytes before its sound")
    return replace(header, reading=reading, notes=(note, *header.notes))


def _probe_of(head: bytes) -> Callable[[BinaryIO], AudioHeader] | None:
    """The probe of a format that twelve bytes show; MPEG audio is shown by frames alone."""
    if head[:4] in WAV and head[8:] == b"WAVE":
        return probe_wav
    if head[:4] == b"FORM" and head[8:] in AIFF:
        return probe_aiff
    return next((found for magic, found in PROBES.items() if head and magic.startswith(head[:4])), None)


def _refuse_others(head: bytes) -> None:
    name = next((name for start, name in OTHERS.items() if head.startswith(start)), None)
    if head[4:8] in (b"ftyp", b"moov", b"mdat"):
        name = "MP4 or QuickTime"
    elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
        name = "AVI video"
    elif head.startswith(AAC):
        name = "AAC"
    if name is not None:
        raise RejectedAudio("wrong-codec", f"holds {name}")
