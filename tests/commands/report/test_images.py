"""Pictures of spectrograms: which way up, and whether the axes are right."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from birdcache.params.views import MelView
from cache.mel import mel_edges_hz
from commands.report.media import TALLEST, WIDEST, as_bytes, picture, ticks_hz, ticks_s, webp
from tests.fixtures.tiny import tiny_params


def view(**changes: object) -> MelView:
    raw = tiny_params("x")["views"]["mel"] | {"sample_rate_hz": 32000, "hop": 320, "n_mels": 128, "fmax_hz": 16000}
    return MelView.model_validate(raw | changes)


def opened(uri: str) -> Image.Image:
    assert uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L")


def test_low_frequencies_are_at_the_bottom_and_time_runs_to_the_right() -> None:
    values_TM = np.zeros((300, 128), np.float32)
    values_TM[200:220, 10:20] = 60
    shown = np.asarray(opened(webp(values_TM)))
    assert shown.shape == (128, 300)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert 200 <= column < 220
    assert 128 - 20 <= row < 128 - 10


def test_a_long_or_tall_picture_is_made_smaller_and_keeps_what_stands_out() -> None:
    values_TM = np.random.default_rng(1).random((5 * WIDEST, 3 * TALLEST)).astype(np.float32)
    values_TM[2 * WIDEST : 3 * WIDEST] += 5
    shown = np.asarray(opened(webp(values_TM)), float)
    assert shown.shape == (TALLEST, WIDEST)
    loud = shown[:, int(0.45 * WIDEST) : int(0.55 * WIDEST)].mean()
    assert loud > 2 * shown[:, : int(0.35 * WIDEST)].mean()


def test_an_even_picture_is_no_error() -> None:
    assert opened(webp(np.full((20, 8), -100, np.float32))).size == (20, 8)


def test_the_same_values_give_the_same_bytes() -> None:
    values_TM = np.random.default_rng(1).random((100, 64)).astype(np.float32)
    assert webp(values_TM) == webp(values_TM.copy())


@pytest.mark.parametrize(
    ("start_s", "seconds", "expected"),
    [
        (0.0, 5.0, ["0", "1", "2", "3", "4", "5"]),
        (6.3, 5.0, ["7", "8", "9", "10", "11"]),
        (0.0, 60.0, ["0", "10", "20", "30", "40", "50", "60"]),
        (0.0, 0.5, ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        (118.0, 600.0, ["120", "240", "360", "480", "600"]),
    ],
)
def test_seconds_are_round_and_where_they_belong(start_s: float, seconds: float, expected: list[str]) -> None:
    found = ticks_s(start_s, seconds)
    assert [tick.text for tick in found] == expected
    for tick in found:
        assert start_s + tick.place * seconds == pytest.approx(float(tick.text))
        assert -1e-9 <= tick.place <= 1 + 1e-9


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_hertz_stand_beside_the_mel_bins_of_their_frequency(scale: str) -> None:
    chosen = view(mel_scale=scale)
    centres = mel_edges_hz(chosen)[1:-1]
    found = ticks_hz(chosen)
    assert [tick.text for tick in found][-1] == "16,000"
    for tick in found[:-1]:
        place = np.interp(float(tick.text.replace(",", "")), centres, (np.arange(128) + 0.5) / 128)
        assert tick.place == pytest.approx(place, abs=0.005)
    assert (np.diff([tick.place for tick in found]) > 0.1).all()


def test_a_picture_says_what_it_shows() -> None:
    shown = picture(np.zeros((100, 128), np.float32), view(), 3.0, "A thrush")
    assert shown.alt == "A thrush"
    assert shown.ticks_s[0].text == "3"
    assert shown.ticks_s[-1].text == "4"


def test_decibels_become_bytes_between_the_quiet_and_the_loud_ones() -> None:
    values_TM = np.linspace(-100, 0, 1001, dtype=np.float32)[:, None]
    shown = as_bytes(values_TM)[[0, 100, 549, 998, 1000], 0]
    np.testing.assert_array_equal(shown, [0, 0, 128, 255, 255])
    assert not as_bytes(np.full((5, 2), -80, np.float32)).any(), "a silent recording"
    assert set(as_bytes(values_TM[:20])[[0, -1], 0]) == {0, 255}, "a narrow range is spread as well"
