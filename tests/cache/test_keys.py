"""Names that follow from content: equal for equal content, different for anything else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from birdcache.params.views import MelView, PcenParams, PcenView
from cache.keys import (
    FEWEST_PART_BITS,
    MOST_PART_BITS,
    PART_BYTES,
    content_key,
    part_address,
    part_bits,
    part_name,
    view_digest,
)

PCEN = PcenParams(gain=0.98, bias=2.0, power=0.5, time_constant_s=0.4, eps=1e-6)


def random_keys(count: int) -> list[str]:
    rng = np.random.default_rng(1)
    return sorted(rng.bytes(32).hex() for _ in range(count))


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate_hz": 32000},
        {"n_fft": 1024},
        {"hop": 255},
        {"n_mels": 9},
        {"mel_scale": "htk"},
        {"fmin_hz": 50.5},
        {"fmax_hz": 7999.0},
        {"dtype": "uint8"},
    ],
)
def test_digest_changes_with_every_key_of_a_view(view: MelView, change: dict[str, object]) -> None:
    assert set(change) < set(MelView.model_fields)
    assert view_digest(view.model_copy(update=change), 1, "a") != view_digest(view, 1, "a")


@pytest.mark.parametrize("key", PcenParams.model_fields)
def test_digest_changes_with_every_key_of_pcen(view: MelView, key: str) -> None:
    pcen = PcenView.model_validate(view.model_dump() | {"kind": "pcen", "pcen": PCEN.model_dump()})
    other = pcen.model_copy(update={"pcen": PCEN.model_copy(update={key: getattr(PCEN, key) + 1})})
    assert len({view_digest(each, 1, "a") for each in (view, pcen, other)}) == 3


def test_digest_changes_with_front_end_and_decoder_and_nothing_else(view: MelView) -> None:
    digests = {view_digest(view, *versions) for versions in [(1, "a"), (2, "a"), (1, "b")]}
    assert len(digests) == 3
    assert view_digest(MelView.model_validate(view.model_dump()), 1, "a") in digests


def test_key_changes_with_audio_and_with_view() -> None:
    one, two = "1" * 64, "2" * 64
    assert len({content_key(one, one), content_key(one, two), content_key(two, one), content_key(two, two)}) == 4
    assert content_key(one, two) == content_key(one, two)


def test_key_stays_for_what_is_read_as_ever_and_changes_for_what_is_not() -> None:
    audio, digest = "1" * 64, "2" * 64
    assert content_key(audio, digest) == hashlib.sha256(bytes.fromhex(audio + digest)).hexdigest()
    marks = [(False, ""), (True, ""), (False, "channel 2"), (False, "channel 1"), (False, "counted")]
    assert len({content_key(audio, digest, *mark) for mark in marks}) == len(marks)


def test_parts_are_at_least_sixteen_and_then_about_32_mib() -> None:
    for total_bytes in [0, 1, PART_BYTES, 16 * PART_BYTES, 17 * PART_BYTES, 1000 * PART_BYTES, 1e15]:
        bits = part_bits(total_bytes)
        assert FEWEST_PART_BITS <= bits <= MOST_PART_BITS
        if FEWEST_PART_BITS < bits < MOST_PART_BITS:
            assert PART_BYTES / 2 < total_bytes / 2**bits <= PART_BYTES


@pytest.mark.parametrize("bits", range(FEWEST_PART_BITS, MOST_PART_BITS + 1))
def test_part_is_named_by_the_leading_bits_of_its_keys(bits: int) -> None:
    for key in random_keys(200):
        name = part_name(key, bits)
        assert f"{int(key, 16):0256b}"[:bits] == f"{int(name, 16):0{bits}b}"
        assert len(name) == -(-bits // 4)


def test_order_of_parts_is_order_of_keys() -> None:
    for bits in (4, 7, 12):
        names = [part_name(key, bits) for key in random_keys(500)]
        assert names == sorted(names)


def test_address_tells_other_recordings_and_another_order_apart() -> None:
    one, two, three = random_keys(3)
    addresses = [part_address(keys) for keys in ([one], [two], [one, two], [two, one], [one, two, three])]
    assert len(set(addresses)) == 5
    assert part_address([one, two]) == part_address((one, two))
