"""Bombs: files of a few kilobytes or megabytes, and the codes under which they may be refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from birdcache.audio.formats.ogg_crc import ogg_checksum
from tests.torture.ogg_files import GRANULE, LAST, joined, pages, sound

RATE_HZ = 8_000
MIB = 2**20
LARGE = 64 * MIB  # of tags and headers
FIRST, CONTINUED = 2, 1  # flags of pages
PAGE = struct.Struct("<4sBBqIIIB")
FULL_PAGE = 255 * 255
CODEBOOKS, ENTRIES_BITS = 64, 22  # more bits than 22 libvorbis refuses
DAMAGED, ACCEPTED = ("damaged",), ("accepted",)


@dataclass(frozen=True)
class Bomb:
    """How a bomb is written (path, hours), under which codes it may be refused, and the end of its name."""

    write: Callable[[Path, float], object]
    codes: tuple[str, ...]
    suffix: str = ".ogg"


def fixed(content: Callable[[], bytes], codes: tuple[str, ...], suffix: str = ".ogg") -> Bomb:
    """A bomb that is the same for any number of hours."""
    return Bomb(lambda path, hours: path.write_bytes(content()), codes, suffix)


def stream(headers: list[bytes], parts: list[bytearray]) -> bytes:
    """An Ogg stream of these header packets, each on pages of its own, and of a good stream's pages of sound."""
    found = [page for packet in headers for page in _pages_of(packet)] + parts
    for number, page in enumerate(found):
        page[5] = page[5] & CONTINUED | (FIRST if number == 0 else LAST if number == len(found) - 1 else 0)
        struct.pack_into("<II", page, 14, 7, number)
    return joined(found)


def _pages_of(packet: bytes) -> Iterator[bytearray]:
    for start, end in pairwise([*range(0, max(len(packet), 1), FULL_PAGE), len(packet)]):
        is_last = end == len(packet)
        lacing = bytes([255]) * ((end - start) // 255) + (bytes([(end - start) % 255]) if is_last else b"")
        head = PAGE.pack(b"OggS", 0, CONTINUED if start else 0, 0 if is_last else -1, 0, 0, 0, len(lacing))
        yield bytearray(head + lacing + packet[start:end])


def vorbis() -> tuple[list[bytes], list[bytearray]]:
    """The three headers of a good Vorbis stream, and its pages of sound."""
    first, second, *parts = pages(sound(0.5, RATE_HZ, 1, "VORBIS"))
    packets, start = [b""], 27 + second[26]
    for size in second[27:start]:
        packets[-1] += bytes(second[start : start + size])
        start += size
        packets += [b""] if size < 255 else []
    return [bytes(first[28:]), *packets[:2]], parts


def with_packet(number: int, change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """A Vorbis stream with another header."""

    def content() -> bytes:
        headers, parts = vorbis()
        headers[number] = change(headers[number])
        return stream(headers, parts)

    return content


def patched(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    """Other bytes at one place."""
    new = struct.pack(form, value)
    return lambda content: content[:offset] + new + content[offset + len(new) :]


def promising_ogg() -> bytes:
    """Two seconds that say to last six days."""
    parts = pages(sound(2, RATE_HZ, 1, "VORBIS"))
    struct.pack_into("<q", parts[-1], GRANULE, 6 * 24 * 3600 * RATE_HZ)
    return joined(parts)


def empty_pages() -> bytes:
    """A good stream with half a million pages of nothing before its end."""
    parts = pages(sound(0.5, RATE_HZ, 1, "VORBIS"))
    serial = struct.unpack_from("<I", parts[0], 14)[0]
    count = 500_000
    content = bytearray(joined(parts[:-1]))
    for number in range(count):
        page = bytearray(PAGE.pack(b"OggS", 0, 0, -1, serial, len(parts) - 1 + number, 0, 0))
        struct.pack_into("<I", page, 22, ogg_checksum(page))
        content += page
    struct.pack_into("<I", parts[-1], 18, len(parts) - 1 + count)
    return bytes(content) + joined(parts[-1:])


def comment(size: int, entries: int) -> bytes:
    """A comment header with so many bytes of text, in so many entries."""
    each = struct.pack("<I", size // entries) + b"a" * (size // entries)
    return b"\x03vorbis" + struct.pack("<I", 0) + struct.pack("<I", entries) + each * entries + b"\x01"


def giant_codebooks() -> bytes:
    """A setup header of a kilobyte whose codebooks unpack to gigabytes: 64 of 2**22 entries."""
    bits = list(_bits((CODEBOOKS - 1, 8)))
    for _ in range(CODEBOOKS):
        bits += _bits((0x564342, 24), (1, 16), (2**ENTRIES_BITS, 24), (1, 1), (ENTRIES_BITS - 1, 5))
        bits += _bits((2**ENTRIES_BITS, ENTRIES_BITS + 1), (0, 4))
    bits += _bits((0, 6), (0, 16))  # time
    bits += _bits((0, 6), (1, 16), (0, 5), (0, 2), (7, 4))  # floor
    bits += _bits((0, 6), (0, 16), (0, 24), (0, 24), (0, 24), (0, 6), (0, 8), (0, 3), (0, 1))  # residue
    bits += _bits((0, 6), (0, 16), (0, 1), (0, 1), (0, 2), (0, 8), (0, 8), (0, 8))  # mapping
    bits += _bits((0, 6), (0, 1), (0, 16), (0, 16), (0, 8), (1, 1))  # mode, end
    return b"\x05vorbis" + np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def _bits(*numbers: tuple[int, int]) -> Iterator[int]:
    """Bits of (value, count), lowest first."""
    for value, count in numbers:
        yield from ((value >> place) & 1 for place in range(count))


def silence(container: str, subtype: str, channels: int = 1, rate_hz: int = RATE_HZ) -> Callable[[Path, float], None]:
    """A file of so many hours of nothing, which packs well."""

    def write(path: Path, hours: float) -> None:
        block_SC = np.zeros((rate_hz * 60, channels), np.int16)
        with soundfile.SoundFile(path, "w", rate_hz, channels, format=container, subtype=subtype) as file:
            for _ in range(max(1, round(hours * 60))):
                file.write(block_SC)

    return write


def clicks(path: Path, hours: float) -> None:
    """A good FLAC file of so many hours, with a click each minute: accepted, and long."""
    block_S = np.zeros(RATE_HZ * 60, np.int16)
    block_S[1000:1100] = 9000
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(max(1, round(hours * 60))):
            file.write(block_S)


def wide(container: str, subtype: str) -> Callable[[Path, float], None]:
    """Noise of 8 channels at 192 kHz, a minute for each hour."""

    def write(path: Path, hours: float) -> None:
        rng = np.random.default_rng(1)
        with soundfile.SoundFile(path, "w", 192_000, 8, format=container, subtype=subtype) as file:
            for _ in range(max(2, round(6 * hours))):
                file.write(rng.uniform(-0.5, 0.5, (1_920_000, 8)))

    return write


def wav(change: Callable[[bytes], bytes] = lambda content: content) -> Callable[[], bytes]:
    """A WAV file of a second of noise, changed."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(1).uniform(-0.5, 0.5, RATE_HZ), RATE_HZ, format="WAV")
    return lambda: change(buffer.getvalue())


def chunks(size: int, count: int) -> Callable[[bytes], bytes]:
    """Chunks that nobody knows before the sound of a WAV file."""
    junk = (b"junk" + struct.pack("<I", size) + bytes(size)) * count
    return lambda content: (
        content[:4] + struct.pack("<I", len(content) - 8 + len(junk)) + content[8:12] + junk + content[12:]
    )


def rf64(content: bytes) -> bytes:
    """A WAV file that says to hold 2**62 bytes."""
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 2**62, 2**62, 2**61, 0)
    body = bytearray(content[12:])
    struct.pack_into("<I", body, body.index(b"data") + 4, 2**32 - 1)
    return b"RF64" + struct.pack("<I", 2**32 - 1) + b"WAVE" + ds64 + bytes(body)


def flac(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """A FLAC file of a second of noise, changed."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(1).uniform(-0.5, 0.5, RATE_HZ), RATE_HZ, format="FLAC")
    return lambda: change(buffer.getvalue())


def blocks(kind: int, content: bytes, count: int) -> Callable[[bytes], bytes]:
    """Further blocks of metadata behind the first one of a FLAC file."""
    block = bytes([kind]) + len(content).to_bytes(3, "big") + content
    return lambda whole: whole[:42] + block * count + whole[42:]


def most_samples(content: bytes) -> bytes:
    """A FLAC file that says to hold 2**36 - 1 samples."""
    return content[:21] + bytes([content[21] | 15]) + b"\xff" * 4 + content[26:]


def mp3(change: Callable[[bytes], bytes] = lambda content: content) -> Callable[[], bytes]:
    """An MP3 file of noise, changed."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(1).uniform(-0.5, 0.5, 48_000), 48_000, format="MP3")
    return lambda: change(buffer.getvalue())


def many_frames(content: bytes) -> bytes:
    """An MP3 file whose Xing header promises 2**32 - 1 frames."""
    place = max(content.find(b"Xing"), content.find(b"Info"))
    return content[: place + 8] + b"\xff" * 4 + content[place + 12 :]


def tagged(size: int) -> Callable[[bytes], bytes]:
    """A tag before the sound, as large as ID3 allows."""
    digits = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    return lambda content: b"ID3\x04\x00\x00" + digits + bytes(size) + content


PICTURE, SEEK_TABLE, COMMENT = 6, 3, 4
BOMBS: dict[str, Bomb] = {
    "Ogg that says to last six days": fixed(promising_ogg, DAMAGED),
    "Ogg of hours of silence": Bomb(silence("OGG", "VORBIS"), ("silent",)),
    "Opus of hours of silence": Bomb(silence("OGG", "OPUS", rate_hz=48_000), ("silent",)),
    "Ogg of half a million empty pages": fixed(empty_pages, ("accepted", "damaged")),
    "Vorbis of 255 channels": fixed(with_packet(0, patched(11, "<B", 255)), ("wrong-codec",)),
    "Vorbis of 4 GHz": fixed(with_packet(0, patched(12, "<I", 2**32 - 1)), ("wrong-codec",)),
    "Vorbis of windows of 32,768": fixed(with_packet(0, patched(28, "<B", 0xFF)), DAMAGED),
    "Vorbis with a huge comment": fixed(with_packet(1, lambda _: comment(LARGE, 1)), ACCEPTED),
    "Vorbis with a million comments": fixed(with_packet(1, lambda _: comment(10**7, 10**6)), ACCEPTED),
    "Vorbis with more comments than bytes": fixed(
        with_packet(1, lambda _: b"\x03vorbis" + bytes(4) + b"\xff" * 4 + b"\x01"), ("empty", "damaged")
    ),
    "Vorbis with a huge setup": fixed(with_packet(2, lambda setup: setup + bytes(LARGE)), ("accepted", "damaged")),
    "Vorbis with giant codebooks": fixed(
        with_packet(2, lambda _: giant_codebooks()), ("crashed", "out-of-memory", "damaged", "timed-out")
    ),
    "FLAC of hours of silence": Bomb(silence("FLAC", "PCM_16"), ("silent",), ".flac"),
    "FLAC of hours of silence, 8 channels": Bomb(silence("FLAC", "PCM_24", 8), ("silent",), ".flac"),
    "FLAC of hours of clicks": Bomb(clicks, ACCEPTED, ".flac"),
    "FLAC that says to last weeks": fixed(flac(most_samples), ("truncated",), ".flac"),
    "FLAC with large pictures": fixed(flac(blocks(PICTURE, bytes(2**24 - 1), 4)), ("accepted", "damaged"), ".flac"),
    "FLAC with a large seek table": fixed(
        flac(blocks(SEEK_TABLE, bytes(18 * 900_000), 1)), ("accepted", "damaged"), ".flac"
    ),
    "FLAC with a large comment": fixed(flac(blocks(COMMENT, bytes(2**24 - 1), 4)), ("accepted", "damaged"), ".flac"),
    "WAV that says to hold 1 GB": fixed(wav(patched(40, "<I", 10**9)), ("truncated",), ".wav"),
    "WAV of open length": fixed(wav(patched(40, "<I", 2**32 - 2)), ACCEPTED, ".wav"),
    "WAV that says to hold 2**62 bytes": fixed(wav(rf64), ("truncated",), ".wav"),
    "WAV of 65,535 channels": fixed(wav(patched(22, "<H", 65_535)), ("wrong-codec", "damaged"), ".wav"),
    "WAV of 4 GHz": fixed(wav(patched(24, "<I", 2**32 - 1)), ("wrong-codec", "damaged"), ".wav"),
    "WAV with a million chunks": fixed(wav(chunks(0, 10**6)), ("accepted", "damaged"), ".wav"),
    "WAV with a large chunk": fixed(wav(chunks(LARGE, 1)), ACCEPTED, ".wav"),
    "WAV of 8 channels at 192 kHz": Bomb(wide("WAV", "PCM_16"), ACCEPTED, ".wav"),
    "FLAC of 8 channels at 192 kHz": Bomb(wide("FLAC", "PCM_24"), ACCEPTED, ".flac"),
    "MP3 that says to last years": fixed(mp3(many_frames), ("damaged", "truncated", "too-long"), ".mp3"),
    "MP3 behind a large tag": fixed(mp3(tagged(LARGE)), ("accepted", "damaged"), ".mp3"),
}
