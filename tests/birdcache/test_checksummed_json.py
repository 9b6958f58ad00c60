"""Checksummed JSON: what was written comes back, and any other byte is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from birdcache.files import checksummed_json, verified_json

CONTENT: dict[str, Any] = {"name": "Étourneau", "rates": [1e-05, 0.5, 3], "none": None, "nested": {"b": 1, "a": True}}


def test_what_was_written_comes_back_in_its_order() -> None:
    assert verified_json(checksummed_json(CONTENT)) == CONTENT
    assert list(verified_json(checksummed_json(CONTENT))) == list(CONTENT)
    assert str(verified_json(checksummed_json({"auc": float("nan")}))) == "{'auc': nan}"


def test_every_flipped_bit_is_noticed() -> None:
    data = checksummed_json(CONTENT)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"."):
            verified_json(bytes(changed))


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\n", lambda data: b"", lambda _: b"3"]
)
def test_what_is_short_or_long_or_no_object_is_noticed(change: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        verified_json(change(checksummed_json(CONTENT)))


def test_a_pile_of_brackets_or_digits_is_noticed() -> None:
    for data in (b"[" * 100_000, b'{"a": ' * 100_000, b'{"a": ' + b"9" * 5000 + b"}"):
        with pytest.raises(ValueError, match=r"nested too deeply|digits"):
            verified_json(data)


def test_a_number_in_another_spelling_is_another_byte() -> None:
    """Its value, and so its digest, would be the same."""
    data = checksummed_json(CONTENT)
    assert b"1e-05" in data
    with pytest.raises(ValueError, match="does not match its own checksum"):
        verified_json(data.replace(b"1e-05", b"1E-05"))


def test_canonical_form_is_sorted_and_checked_alike() -> None:
    data = checksummed_json(CONTENT, canonical=True)
    assert data == checksummed_json(dict(reversed(CONTENT.items())), canonical=True)
    assert verified_json(data, canonical=True) == CONTENT
    for changed in (data + b"\n", data.replace(b"1e-05", b"1E-05"), data.replace(b'"b":1', b'"b":2')):
        with pytest.raises(ValueError, match=r"."):
            verified_json(changed, canonical=True)
