"""Independent counts of the samples in MP3, FLAC and WAV files, to compare the product's with: slow, and bit by bit."""

from __future__ import annotations

import struct
from collections import Counter

from tests.fixtures.mpeg import DECODER_DELAY, frame_facts

TABLES = (b"Xing", b"Info")
SURE = 2  # frames of MP3 in a row


def mp3_samples(content: bytes) -> set[int]:
    """Lengths that an MP3 file can have: all frames, or less what its table says to leave out."""
    heads = {place: facts for place in _places(content, b"\xff") if (facts := frame_facts(content[place : place + 4]))}
    kinds = Counter(_kind(content, place) for place, (size, _) in heads.items() if place + size in heads)
    if not kinds:
        return {facts[1] for place, facts in heads.items() if place == 0}
    kind = kinds.most_common(1)[0][0]
    sizes = {place: facts[0] for place, facts in heads.items() if _kind(content, place) == kind}
    samples = next(facts[1] for place, facts in heads.items() if place in sizes)
    chain: dict[int, int] = {}
    for place in sorted(sizes, reverse=True):
        chain[place] = 1 + chain.get(place + sizes[place], 0)
    places, place = [], 0
    for begin in sorted(sizes):
        is_sure = chain[begin] >= SURE or _ends_well(content, begin, sizes, chain)
        if begin >= place and (is_sure or begin == place > 0) and begin + sizes[begin] <= len(content):
            places.append(begin)
            place = begin + sizes[begin]
    tables = [begin for begin in places if _table_at(content, begin)]
    left = (len(places) - len(tables)) * samples
    return {left - trim for trim in _trims(content, places[0] if places else 0)}


def _kind(content: bytes, place: int) -> tuple[int, int, bool]:
    return content[place + 1] & 0xFE, content[place + 2] & 0x0C, content[place + 3] >= 0xC0


def _ends_well(content: bytes, begin: int, sizes: dict[int, int], chain: dict[int, int]) -> bool:
    """Whether a short chain reaches the file's end, or bytes that are no sound."""
    place = begin
    for _ in range(chain[begin]):
        place += sizes[place]
    return place == len(content) or content[place:].startswith((bytes(16), b"TAG", b"ID3", b"APETAGEX"))


def _table_at(content: bytes, begin: int) -> int:
    """The place of Xing's or Info's name in a frame, 0 if there is none."""
    is_mono, is_first = content[begin + 3] >= 0xC0, content[begin + 1] & 0x18 == 0x18
    place = begin + 4 + ((17 if is_mono else 32) if is_first else (9 if is_mono else 17))
    return place if content[place : place + 4] in TABLES else 0


def _trims(content: bytes, begin: int) -> set[int]:
    place = _table_at(content, begin)
    if not place:
        return {0}
    flags = content[place + 7]
    lame = place + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    both = int.from_bytes(content[lame + 21 : lame + 24], "big")
    front, back = (both >> 12) + DECODER_DELAY, max(0, (both & 4095) - DECODER_DELAY)
    return {0, DECODER_DELAY, front, front + back}


def flac_samples(content: bytes) -> set[int]:
    """The length of a FLAC file: blocks of frames whose headers' checksums are right, numbered from 0 without a gap."""
    found: dict[int, int] = {}
    for place in _places(content, b"\xff\xf8"):
        head = content[place : place + 16]
        size_code, extra = (head + b"\0" * 3)[2] >> 4, 0
        length, number = _number(head[4:])
        if size_code in (6, 7):
            extra = size_code - 5
        end = 4 + length + extra
        if length and end < len(head) and _crc8(head[:end]) == head[end]:
            block = 1 + int.from_bytes(head[4 + length : end], "big") if extra else {12: 4096}.get(size_code, 0)
            found.setdefault(number, block)
    count = next(number for number in range(len(found) + 1) if number not in found)
    return {sum(found[number] for number in range(count))}


def _number(coded: bytes) -> tuple[int, int]:
    for length in (1, 2, 3):
        try:
            return length, ord(coded[:length].decode())
        except (UnicodeDecodeError, TypeError):
            continue
    return 0, 0


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        for bit in range(7, -1, -1):
            crc = (crc << 1) ^ (0x07 if (crc >> 7 ^ byte >> bit) & 1 else 0)
            crc &= 0xFF
    return crc


def wav_samples(content: bytes) -> set[int]:
    """Lengths that a WAV file can have: by the size of its first chunk of data, or all bytes behind that."""
    place, block = content.find(b"WAVE") + 4, 0
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        if name == b"fmt ":
            channels, block, bits = struct.unpack_from("<2xH8xHH", content, place + 8)
            block = block or channels * -(-bits // 8)
        if name == b"data" and block:
            return {size // block, (len(content) - place - 8) // block}
        place += 8 + size + size % 2
    return set()


def _places(content: bytes, what: bytes) -> list[int]:
    places, place = [], content.find(what)
    while place >= 0:
        places.append(place)
        place = content.find(what, place + 1)
    return places
