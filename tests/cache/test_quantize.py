"""Codes of values: how far they may lie from what was encoded."""

from __future__ import annotations

import numpy as np
import pytest

from cache.quantize import FILL_CODE, FLOAT16_MAX, TOP_CODE, Quantizer

RANGES = pytest.mark.parametrize(("low", "high"), [(-100.0, 45.0), (0.0, 7.0), (-3.0, 1e6)])


def test_float16_keeps_every_value_to_eleven_bits() -> None:
    rng = np.random.default_rng(1)
    magnitude = 10 ** rng.uniform(-12, np.log10(FLOAT16_MAX), 100_000)
    values = (magnitude * rng.choice([-1, 1], len(magnitude))).astype(np.float32)
    quantizer = Quantizer("float16", -100.0, 45.0)
    error = np.abs(quantizer.decode(quantizer.encode(values)) - values)
    assert (error <= np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)).all()


def test_float16_saturates_instead_of_becoming_infinite() -> None:
    quantizer = Quantizer("float16", 0.0, 7.0)
    extreme = np.array([1e5, -1e5, np.inf, FLOAT16_MAX], np.float32)
    assert quantizer.decode(quantizer.encode(extreme)).tolist() == [FLOAT16_MAX, -FLOAT16_MAX, FLOAT16_MAX, FLOAT16_MAX]


def test_range_beyond_float16_is_refused() -> None:
    Quantizer("uint8", 0.0, 1e6)
    with pytest.raises(ValueError, match=r"values reach 1e\+06, float16 ends at 65504; raise pcen\.gain"):
        Quantizer("float16", 0.0, 1e6)


@RANGES
def test_uint8_keeps_values_in_range_to_half_a_step(low: float, high: float) -> None:
    quantizer = Quantizer("uint8", low, high)
    values = np.random.default_rng(1).uniform(low, high, 100_000).astype(np.float32)
    error = np.abs(quantizer.decode(quantizer.encode(values)) - values)
    rounding = 4 * np.finfo(np.float32).eps * max(-low, high)
    assert error.max() <= quantizer.step / 2 + rounding
    assert quantizer.step == (high - low) / 254


@RANGES
def test_uint8_clips_to_its_range_and_never_uses_the_fill_code(low: float, high: float) -> None:
    quantizer = Quantizer("uint8", low, high)
    values = np.array([-np.inf, low - 1, low, high, high * 1.001, 1e30, np.inf], np.float32)
    assert quantizer.encode(values).tolist() == [0, 0, 0, TOP_CODE, TOP_CODE, TOP_CODE, TOP_CODE]
    assert quantizer.fill == FILL_CODE == 255


@RANGES
def test_uint8_codes_come_back_as_they_were(low: float, high: float) -> None:
    quantizer = Quantizer("uint8", low, high)
    quantized = np.arange(TOP_CODE + 1, dtype=np.uint8)
    np.testing.assert_array_equal(quantizer.encode(quantizer.decode(quantized)), quantized)


def test_decoding_leaves_the_codes_alone() -> None:
    quantizer = Quantizer("uint8", -100.0, 45.0)
    quantized = np.arange(5, dtype=np.uint8)
    quantizer.decode(quantized)
    assert quantized.tolist() == [0, 1, 2, 3, 4]
