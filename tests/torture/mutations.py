"""Ways to spoil an Ogg file, drawn by a seeded generator."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tests.torture.ogg_files import FLAGS, GRANULE, SEGMENTS, SEQUENCE, SERIAL, joined, pages

Rng = np.random.Generator
Pages = list[bytearray]
WIDE = (0, 1, -1, 2**31, 2**40, 2**62, -(2**63))  # numbers at which arithmetic breaks
CODEC_HEAD = (28, 58)  # the bytes of the first page that name codec, channels, rate and block sizes


class Mutant(NamedTuple):
    """A spoiled file: of which one, how, and whether its pages' checksums were made right again."""

    base: str
    kind: str
    mended: bool
    content: bytes


def mutant(bases: Mapping[str, bytes], rng: Rng, mended: bool) -> Mutant:
    """Spoil one of the files in one to three ways; what comes out differs from it."""
    name = str(rng.choice(list(bases)))
    while True:
        parts, kinds = pages(bases[name]), []
        for _ in range(int(rng.integers(1, 4))):
            kinds.append(str(rng.choice(list(KINDS))))
            parts = KINDS[kinds[-1]](parts, rng)
        content = joined(map(relaced, parts)) if mended else b"".join(parts)
        if content != bases[name]:
            return Mutant(name, "+".join(kinds), mended, content)


def relaced(part: bytearray) -> bytearray:
    """The page with segments that fit the bytes that it has, so that the next one is found behind it."""
    part = part.ljust(SEGMENTS + 1, b"\0")
    body = SEGMENTS + 1 + part[SEGMENTS]
    lacing: list[int] = []
    left = max(0, len(part) - body)
    for size in [*part[SEGMENTS + 1 : body], *[255] * 255][:255]:
        if len(lacing) >= part[SEGMENTS] and not left:
            break
        lacing.append(min(size, left))
        left -= lacing[-1]
    return part[:SEGMENTS] + bytes([len(lacing), *lacing]) + part[body : body + sum(lacing)]


def _some(parts: Pages, rng: Rng) -> bytearray:
    return parts[int(rng.integers(len(parts)))] if parts else bytearray(1)


def _place(part: bytearray, rng: Rng) -> int:
    return int(rng.integers(max(1, len(part))))


def flip(parts: Pages, rng: Rng) -> Pages:
    """Flip a bit."""
    part = _some(parts, rng)
    if part:
        part[_place(part, rng)] ^= 1 << int(rng.integers(8))
    return parts


def overwrite(parts: Pages, rng: Rng) -> Pages:
    """Write noise, zeros or ones over a run of bytes."""
    part = _some(parts, rng)
    start, size = _place(part, rng), int(rng.integers(1, 200))
    noise = rng.integers(0, 256, size, np.uint8).tobytes()
    run = [noise, bytes(size), b"\xff" * size][int(rng.integers(3))]
    part[start : start + size] = run[: len(part) - start]
    return parts


def setup(parts: Pages, rng: Rng) -> Pages:
    """Change a byte of the codec's own headers: channels, rate, block sizes, code books."""
    part = parts[int(rng.integers(min(2, len(parts))))] if parts else bytearray(1)
    low, high = CODEC_HEAD if part is parts[0] else (28, len(part))
    if len(part) > low:
        part[int(rng.integers(low, max(low + 1, min(high, len(part)))))] = int(rng.integers(256))
    return parts


def cut_run(parts: Pages, rng: Rng) -> Pages:
    """Take a run of bytes out."""
    part = _some(parts, rng)
    start = _place(part, rng)
    del part[start : start + int(rng.integers(1, 400))]
    return parts


def insert_run(parts: Pages, rng: Rng) -> Pages:
    """Put noise in between."""
    part = _some(parts, rng)
    start = _place(part, rng)
    part[start:start] = rng.integers(0, 256, int(rng.integers(1, 400)), np.uint8).tobytes()
    return parts


def drop(parts: Pages, rng: Rng) -> Pages:
    """Lose a page."""
    lost = int(rng.integers(max(1, len(parts))))
    return [part for place, part in enumerate(parts) if place != lost]


def double(parts: Pages, rng: Rng) -> Pages:
    """Write a page twice."""
    place = int(rng.integers(len(parts) + 1))
    return [*parts[:place], bytearray(_some(parts, rng)), *parts[place:]]


def swap(parts: Pages, rng: Rng) -> Pages:
    """Let two pages trade places."""
    if len(parts) > 1:
        one, two = rng.choice(len(parts), 2, replace=False)
        parts[one], parts[two] = parts[two], parts[one]
    return parts


def renumber(parts: Pages, rng: Rng) -> Pages:
    """Number the pages anew, so that what was lost or doubled does not show."""
    for number, part in enumerate(parts):
        if len(part) > SEQUENCE + 4:
            struct.pack_into("<I", part, SEQUENCE, number)
    return parts


def field(parts: Pages, rng: Rng) -> Pages:
    """Change a field of a page's header: flags, time, stream, number, lengths."""
    part = _some(parts, rng)
    if len(part) > SERIAL + 16:
        form, place = [("<B", FLAGS), ("<q", GRANULE), ("<i", SERIAL), ("<i", SEQUENCE), ("<B", SEGMENTS)][
            rng.integers(5)
        ]
        size = struct.calcsize(form)
        value = int(rng.choice(WIDE)) + int(rng.integers(-2, 3))
        part[place : place + size] = (value % 256**size).to_bytes(size, "little")
    return parts


def cut_end(parts: Pages, rng: Rng) -> Pages:
    """Lose the end."""
    if parts:
        last = int(rng.integers(len(parts)))
        del parts[last + 1 :]
        del parts[last][_place(parts[last], rng) :]
    return parts


KINDS: dict[str, Callable[[Pages, Rng], Pages]] = {
    each.__name__: each
    for each in (
        flip,
        overwrite,
        setup,
        cut_run,
        insert_run,
        drop,
        double,
        swap,
        renumber,
        field,
        cut_end,
    )
}
