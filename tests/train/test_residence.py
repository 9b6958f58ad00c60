"""Residences: the device's memory, mapped files and an array give the same clips, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cache.store import Store
from params import MelView, PcenView
from train.draws import Ints
from train.residence import ArrayFrames, DeviceFrames, Frames, HostFrames, open_frames
from train.sampling import clip_positions, clip_starts

RandomStore = Callable[..., Store]
Dtype = Literal["float16", "uint8"]

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90)  # with clips of 40 frames; 700 and 520 cross a chunk of 512


@pytest.fixture(params=["float16", "uint8"])
def store(request: pytest.FixtureRequest, random_store: RandomStore, view: MelView) -> Store:
    return random_store(LENGTHS, view.model_copy(update={"dtype": request.param}))


def gathered(frames: Frames, row_B: Ints, position_BT: Ints) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = frames.finish(frames.stage(row_B, position_BT), position_BT).numpy()
    return values


def random_clips(store: Store, loop: bool) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(5)
    rows = np.concatenate([np.arange(len(store)), rng.integers(0, len(store), 40)])
    starts = clip_starts(store.frames[rows], 40, loop, rng.random(len(rows)))
    return rows, clip_positions(starts, store.frames[rows], 40, loop)


def slow_clips(store: Store, row_B: Ints, position_BT: Ints) -> npt.NDArray[np.float32]:
    """Frame after frame out of whole recordings; padding is the codec's lowest value."""
    clips = np.full((*position_BT.shape, store.view.n_mels), store.codec.low, np.float32)
    for clip, row, position_T in zip(clips, row_B, position_BT, strict=True):
        recording = store.read(int(row))
        for place, position in enumerate(position_T):
            if position >= 0:
                clip[place] = recording[position]
    return clips


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("residence", [HostFrames, DeviceFrames])
def test_clips_equal_the_stored_recordings_bit_for_bit(
    store: Store, cpu: torch.device, residence: type[HostFrames | DeviceFrames], loop: bool
) -> None:
    rows, positions = random_clips(store, loop)
    clips = gathered(residence(store, cpu), rows, positions)
    assert clips.dtype == np.float32
    assert np.array_equal(clips, slow_clips(store, rows, positions))


@pytest.mark.parametrize("loop", [False, True])
def test_device_and_host_give_identical_bits(store: Store, cpu: torch.device, loop: bool) -> None:
    rows, positions = random_clips(store, loop)
    device, host = (gathered(frames(store, cpu), rows, positions) for frames in (DeviceFrames, HostFrames))
    assert device.tobytes() == host.tobytes()


def test_padding_is_the_lowest_value_of_the_codec(store: Store, cpu: torch.device) -> None:
    row = store.rows_of([f"{1:064x}"])  # three frames long
    positions = clip_positions(np.array([-2]), store.frames[row], 40, loop=False)
    for frames in (HostFrames(store, cpu), DeviceFrames(store, cpu)):
        clip = gathered(frames, row, positions)[0]
        assert (clip[:2] == store.codec.low).all()
        assert (clip[5:] == store.codec.low).all()
        assert np.array_equal(clip[2:5], store.read(int(row[0])))


def test_a_looped_clip_wraps_around_its_recording(store: Store, cpu: torch.device) -> None:
    row = store.rows_of([f"{1:064x}"])
    positions = clip_positions(np.array([2]), store.frames[row], 40, loop=True)
    recording = store.read(int(row[0]))
    for frames in (HostFrames(store, cpu), DeviceFrames(store, cpu)):
        assert np.array_equal(
            gathered(frames, row, positions)[0], np.roll(np.tile(recording, (14, 1)), -2, axis=0)[:40]
        )


def test_pcen_is_padded_with_its_own_lowest_value(
    random_store: RandomStore, pcen_view: PcenView, cpu: torch.device
) -> None:
    store = random_store((3, 50), pcen_view)
    row = store.rows_of([f"{0:064x}"])
    positions = clip_positions(np.array([0]), store.frames[row], 40, loop=False)
    assert (gathered(DeviceFrames(store, cpu), row, positions)[0, 3:] == 0).all()


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("recording", [0, 1, 2])
def test_an_array_is_a_store_of_one_row(store: Store, cpu: torch.device, recording: int, loop: bool) -> None:
    row = int(store.rows_of([f"{recording:064x}"])[0])
    length = store.frames[[row] * 12]
    starts = clip_starts(length, 40, loop, np.linspace(0, 0.99, 12))
    positions = clip_positions(starts, length, 40, loop)
    array = ArrayFrames(store.read(row), store.codec.low, cpu)
    from_array = gathered(array, np.zeros(12, np.int64), positions)
    assert np.array_equal(from_array, gathered(HostFrames(store, cpu), np.full(12, row), positions))


@pytest.mark.parametrize(
    ("asked", "given", "said"),
    [
        ("auto", HostFrames, "from mapped files to cpu"),
        ("host", HostFrames, "from mapped files to cpu"),
        ("device", DeviceFrames, "from memory of cpu"),
    ],
)
def test_the_line_says_where_frames_are_read_from(
    store: Store, cpu: torch.device, asked: Literal["auto", "device", "host"], given: type, said: str
) -> None:
    frames, line = open_frames(store, cpu, asked)
    assert isinstance(frames, given)
    assert said in line


def test_auto_takes_the_memory_of_a_gpu_only_where_the_store_fits_in_half_of_what_is_free(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.residence.DeviceFrames", lambda store, device: None)
    size = sum(LENGTHS) * 32 * np.dtype(store.codec.dtype).itemsize
    for free, said in ((2 * size, "from memory of cuda"), (2 * size - 1, "from mapped files to cuda")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert said in open_frames(store, torch.device("cuda"), "auto")[1]
