"""The gate on Ogg files: whole ones pass, and what was cut, spoiled, joined or renamed is refused with its class."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from birdcache.audio import read
from birdcache.audio.formats import ogg, ogg_codecs, ogg_pages
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.ogg_crc import ogg_checksum
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.validate import probe
from tests.fixtures.waveform import read_waveform
from tests.torture.ogg_files import (
    FLAGS,
    GRANULE,
    LAST,
    SEGMENTS,
    SEQUENCE,
    base_files,
    is_intact,
    joined,
    mended,
    page_ends,
    pages,
    sound,
    without_page,
)

FILES = base_files()
MONO = FILES["mono.ogg"]
Pages = list[bytearray]


def examined(tmp_path: Path, content: bytes) -> AudioHeader:
    path = tmp_path / "clip.ogg"
    path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        return probe(file)


def rejected(tmp_path: Path, content: bytes) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        examined(tmp_path, content)
    return caught.value


def put(page: bytearray, place: int, form: str, value: int) -> None:
    struct.pack_into(form, page, place, value)


@pytest.mark.parametrize("name", FILES)
def test_whole_file_promises_what_libsndfile_decodes(tmp_path: Path, name: str) -> None:
    audio_header = examined(tmp_path, FILES[name])
    samples, rate_hz = soundfile.read(io.BytesIO(FILES[name]), always_2d=True)
    assert audio_header == AudioHeader(rate_hz, samples.shape[1], len(samples), ended=True)


@pytest.mark.parametrize("number", range(12))
def test_files_of_any_length_rate_and_number_of_channels_pass(tmp_path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    subtype = "OPUS" if number % 2 and ogg_codecs.DECODES_OPUS else "VORBIS"
    rate_hz = int(rng.choice([8_000, 16_000, 24_000, 48_000] + [44_100, 96_000] * (subtype == "VORBIS")))
    seconds, channels = rng.choice([0.002, 0.03, 0.7, rng.uniform(1, 3)]), int(rng.integers(1, 9))
    audio_header = examined(tmp_path, sound(seconds, rate_hz, channels, subtype))
    at_hz = ogg_codecs.OPUS_HZ if subtype == "OPUS" else rate_hz
    assert audio_header == AudioHeader(at_hz, channels, round(seconds * rate_hz) * (at_hz // rate_hz))


def test_promise_does_not_depend_on_the_block_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = examined(tmp_path, MONO)
    for block_bytes in (1, 26, 27, 28, 1000):
        monkeypatch.setattr(ogg_pages, "BLOCK_BYTES", block_bytes)
        assert examined(tmp_path, MONO) == whole
        assert examined(tmp_path, MONO + b"x").frames == whole.frames


def test_checksum_is_that_of_the_polynomial_bit_by_bit() -> None:
    page = bytes(np.random.default_rng(1).integers(0, 256, 300, np.uint8))
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ 0x04C11DB7 if remainder & 1 << 31 else remainder << 1) & 0xFFFFFFFF
    assert ogg_checksum(page) == remainder


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    short = sound(0.05, 8_000, 1, "VORBIS")
    rng = np.random.default_rng(1)
    places = sorted({*rng.integers(0, len(short), 150).tolist(), *range(90), *range(len(short) - 60, len(short))})
    for place in places:
        spoiled = bytearray(short)
        spoiled[place] ^= 1 << int(rng.integers(8))
        code = rejected(tmp_path, bytes(spoiled)).code
        assert code in ("damaged", "truncated") or (code == "not-audio" and place < 4)


def test_without_the_checksum_flipped_bits_would_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled = bytearray(MONO)
    spoiled[-500] ^= 4
    assert rejected(tmp_path, bytes(spoiled)).code == "damaged"
    monkeypatch.setattr(ogg_pages, "is_intact", lambda *_: True)
    assert examined(tmp_path, bytes(spoiled)) == examined(tmp_path, MONO)


@pytest.mark.parametrize("name", FILES)
def test_cut_at_any_byte_is_refused_with_the_right_class(tmp_path: Path, name: str) -> None:
    whole, ends = FILES[name], page_ends(FILES[name])
    for size in sorted(
        {*range(1, len(whole), 997), *ends[:-1], *(end - 1 for end in ends), *(end + 1 for end in ends)}
    ):
        if size >= len(whole):
            continue
        if size in ends[2:]:  # behind the headers, which libsndfile writes on two pages
            assert not examined(tmp_path, whole[:size]).ended
        else:
            assert rejected(tmp_path, whole[:size]).code == "truncated"


def test_empty_file_is_refused(tmp_path: Path) -> None:
    assert str(rejected(tmp_path, b"")) == "is empty (0 bytes); fetch it again or remove it from the data set"


def drop(number: int) -> Callable[[Pages], Pages]:
    return lambda parts: [part for place, part in enumerate(parts) if place != number]


def swapped(parts: Pages) -> Pages:
    return [*parts[:2], parts[3], parts[2], *parts[4:]]


def doubled(parts: Pages) -> Pages:
    return [*parts[:3], *parts[2:]]


def again(parts: Pages) -> Pages:
    return [*parts, *pages(sound(0.3, 32_000, 1, "VORBIS", seed=9))]


def interleaved(parts: Pages) -> Pages:
    other = pages(sound(0.3, 32_000, 1, "VORBIS", seed=9))
    return [parts[0], other[0], *parts[1:]]


def stranger(parts: Pages) -> Pages:
    return [*parts[:3], pages(sound(1.0, 32_000, 1, "VORBIS", seed=9))[3], *parts[3:]]


def after_its_end(parts: Pages) -> Pages:
    extra = bytearray(parts[-1])
    put(extra, SEQUENCE, "<I", len(parts))
    return [*parts, extra]


def changed(number: int, place: int, form: str, value: int) -> Callable[[Pages], Pages]:
    def change(parts: Pages) -> Pages:
        put(parts[number], place, form, value)
        return parts

    return change


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (drop(0), "damaged", "beginning is missing"),
        (drop(1), "damaged", r"page 2 at byte \d+ follows page 0"),
        (drop(3), "damaged", r"page 4 at byte \d+ follows page 2"),
        (swapped, "damaged", r"page 3 at byte \d+ follows page 1"),
        (doubled, "damaged", r"page 2 at byte \d+ follows page 2"),
        (again, "chained", r"another stream begins at byte \d+"),
        (interleaved, "chained", "another stream begins at byte 58"),
        (stranger, "damaged", "belongs to another stream"),
        (after_its_end, "damaged", "after the page that says to be the last"),
        (changed(3, FLAGS, "<B", 1), "damaged", "does not go on where"),
        (changed(3, GRANULE, "<q", 5), "damaged", r"time goes back from \d+ to 5 at byte"),
        (changed(3, GRANULE, "<q", -2), "damaged", "time goes back"),
        (changed(-1, GRANULE, "<q", 2**62), "too-long", "more than a week"),
        (changed(3, 4, "<B", 1), "damaged", "is of Ogg version 1"),
        (changed(0, 28 + 11, "<B", 0), "damaged", "32000 Hz and 0 channels"),
        (changed(0, 28 + 11, "<B", 9), "wrong-codec", "has 9 channels, more than 8"),
        (changed(0, 28 + 12, "<I", 0), "damaged", "0 Hz"),
        (changed(0, 28 + 12, "<I", 7_999), "wrong-codec", "7999 Hz is not within 8000 to 500000"),
        (changed(0, 28 + 12, "<I", 500_001), "wrong-codec", "500001 Hz"),
        (changed(0, 28 + 7, "<I", 1), "damaged", "breaks the rules of Vorbis"),
        (changed(0, 28 + 28, "<B", 0x7A), "damaged", "breaks the rules of Vorbis"),
        (changed(0, 28 + 28, "<B", 0xE8), "damaged", "breaks the rules of Vorbis"),
        (changed(0, 28 + 29, "<B", 0), "damaged", "breaks the rules of Vorbis"),
        (changed(0, 28, "<B", 9), "wrong-codec", "an unknown codec"),
    ],
)
def test_stream_that_breaks_a_rule_is_refused_though_its_checksums_are_right(
    tmp_path: Path, spoil: Callable[[Pages], Pages], code: str, told: str
) -> None:
    caught = rejected(tmp_path, joined(spoil(pages(MONO))))
    assert caught.code == code
    assert re.search(told, caught.detail)


@pytest.mark.parametrize("behind", [bytes(10), b"TAG" + bytes(125), b"junk" * 300_000], ids=["zeros", "tag", "junk"])
def test_bytes_behind_the_last_page_are_noted_and_the_sound_is_whole(tmp_path: Path, behind: bytes) -> None:
    found = examined(tmp_path, MONO + behind)
    assert found.frames == examined(tmp_path, MONO).frames
    assert found.notes == (("bytes-around", f"{len(behind)} bytes behind its sound"),)
    samples_S = read_waveform(tmp_path / "clip.ogg", 32_000)
    np.testing.assert_array_equal(samples_S, soundfile.read(io.BytesIO(MONO), dtype="float32")[0])


def test_unknown_bytes_where_the_next_page_must_begin_are_damage(tmp_path: Path) -> None:
    cut = without_page(MONO, -1)
    assert (
        rejected(tmp_path, cut + b"junk" * 10).detail == f"at byte {len(cut)}, where a page must begin, there is none"
    )
    assert not examined(tmp_path, cut + b"TAG" + bytes(125)).ended


def test_pages_behind_bytes_behind_the_end_are_another_stream(tmp_path: Path) -> None:
    assert rejected(tmp_path, MONO + bytes(10) + MONO).code == "chained"


@pytest.mark.parametrize("name", ["mono.ogg", "stereo.ogg"])
def test_last_page_that_names_an_earlier_time_than_its_packets_hold_is_damaged(tmp_path: Path, name: str) -> None:
    parts = pages(FILES[name])
    del parts[3:-1]
    put(parts[2], GRANULE, "<q", 64)
    parts[2][FLAGS] |= LAST
    assert rejected(tmp_path, joined(parts[:3])).detail.startswith("its last page ends 64 samples on, but holds ")


def test_file_without_its_last_page_has_no_end(tmp_path: Path) -> None:
    assert not examined(tmp_path, without_page(MONO, -1)).ended


def test_packet_that_goes_on_nowhere_is_truncated_or_damaged(tmp_path: Path) -> None:
    parts = pages(MONO)[:4]
    parts[3][27 + parts[3][26] - 1] = 255
    parts[3] += bytes(255)
    parts[3] = parts[3][: 27 + parts[3][26] + sum(parts[3][27 : 27 + parts[3][26]])]
    assert rejected(tmp_path, joined(parts)).code == "truncated"
    parts[3][FLAGS] |= LAST
    assert rejected(tmp_path, joined(parts)).code == "damaged"


def test_stream_that_ends_before_its_first_sound_is_empty_or_truncated(tmp_path: Path) -> None:
    parts = pages(MONO)[:2]
    assert rejected(tmp_path, joined(parts)).code == "truncated"
    parts[1][FLAGS] |= LAST
    assert rejected(tmp_path, joined(parts)).code == "empty"


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"\x7fFLAC", "FLAC in Ogg"), (b"Speex   ", "Speex"), (b"fishead\0", "Skeleton"), (b"\x80theora", "Theora video")],
)
def test_other_codecs_are_named(tmp_path: Path, start: bytes, name: str) -> None:
    parts = pages(MONO)
    parts[0][28 : 28 + len(start)] = start
    caught = rejected(tmp_path, joined(parts))
    assert caught.code == "wrong-codec"
    assert name in caught.detail
    assert "ffmpeg -i IN OUT.flac" in caught.hint


def test_opus_that_cannot_be_decoded_here_is_the_wrong_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ogg_codecs, "DECODES_OPUS", False)
    if "opus.ogg" in FILES:
        assert rejected(tmp_path, FILES["opus.ogg"]).detail == "holds Opus in an Ogg stream"


def test_time_that_does_not_begin_at_zero_is_no_damage(tmp_path: Path) -> None:
    parts = pages(MONO)
    for part in parts[2:]:
        put(part, GRANULE, "<q", struct.unpack_from("<q", part, GRANULE)[0] + 10**6)
    assert examined(tmp_path, joined(parts)).frames == 10**6 + 48_000


def test_page_on_which_no_packet_ends_has_no_time(tmp_path: Path) -> None:
    parts = pages(MONO)
    put(parts[3], GRANULE, "<q", ogg.NOTHING_ENDS)
    assert examined(tmp_path, joined(parts)) == examined(tmp_path, MONO)


def commented(parts: Pages, comments: bytes) -> Pages:
    setup = bytes(parts[1]).partition(b"\x05vorbis")
    body, sizes = comments + b"\x05vorbis" + setup[2], [len(comments), 7 + len(setup[2])]
    lacing = b"".join(bytes([255] * (size // 255) + [size % 255]) for size in sizes)
    return [parts[0], parts[1][:SEGMENTS] + bytes([len(lacing)]) + lacing + body, *parts[2:]]


def later(samples: int) -> Callable[[Pages], Pages]:
    return lambda parts: [
        *parts[:2],
        *(
            changed(0, GRANULE, "<q", struct.unpack_from("<q", part, GRANULE)[0] + samples)([part])[0]
            for part in parts[2:]
        ),
    ]


def test_file_with_headers_seen_before_is_read_as_one_with_headers_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(content: bytes) -> object:
        path.write_bytes(content)
        try:
            return read.read_info(path)
        except RejectedAudio as rejected:
            return str(rejected)

    def count(*given: Any) -> Any:
        opened.append(1)
        return open_audio(*given)

    path, opened, open_audio = tmp_path / "clip.ogg", list[int](), read._open_audio
    monkeypatch.setattr(read, "_open_audio", count)
    tags = [b"", struct.pack("<I", 3) + b"A=b", struct.pack("<I", 3)]
    comments = [b"\x03vorbis" + struct.pack("<I", 0) + struct.pack("<I", bool(tag)) + tag + b"\1" for tag in tags]
    spoilt = [later(0), later(1), later(-1), later(5000), drop(-1), drop(2), changed(1, -9, "<B", 77)]
    spoilt += [changed(number, GRANULE, "<q", ogg.NOTHING_ENDS) for number in (2, 3, -1)]
    spoilt += [partial(commented, comments=each) for each in (*comments, comments[0][:-1] + b"\0", comments[0] + b"x")]
    for spoil in spoilt:
        content = joined(spoil(pages(MONO)))
        monkeypatch.setattr(read, "_GOOD_OPENINGS", set())
        alone = facts(content)
        facts(MONO)
        assert facts(content) == alone
    opened.clear()
    for each in comments[:2]:  # not even other comments matter
        assert facts(joined(commented(pages(MONO), each))) == facts(MONO)
    assert not opened


def test_slow_walk_agrees_with_libsndfile_and_finds_damage() -> None:
    spoiled = bytearray(MONO)
    spoiled[len(MONO) // 2] ^= 1
    assert is_intact(MONO)
    assert not is_intact(bytes(spoiled))
    assert not is_intact(MONO[:-1])
    assert mended(pages(MONO)[2]) == pages(MONO)[2]
