"""Placements: the device's memory, mapped files, a stream of chunks and an array give the same clips, bit for bit."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from upath import UPath

from birdcache.arrays import Ints
from birdcache.errors import StoreError, TrainError
from birdcache.params.model import Params
from birdcache.params.sections import MachineParams
from birdcache.params.views import MelView, PcenView
from cache.part import SHARD
from cache.store import Store
from train.data.frames import ArrayFrames, DeviceFrames, Frames, HostFrames, StreamFrames, open_frames
from train.data.sampling import clip_positions, clip_starts

RandomStore = Callable[..., Store]
MakeFrames = Callable[[Store, torch.device], Frames]

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90)  # with clips of 40 frames; 700 and 520 cross a chunk of 512
TINY_BUDGET = 2 * 512 * 32 * 2  # two chunks of float16
PLACEMENTS: dict[str, MakeFrames] = {
    "device": DeviceFrames,
    "host": HostFrames,
    "stream": partial(StreamFrames, budget_bytes=10**9),
    "stream of a tiny budget": partial(StreamFrames, budget_bytes=TINY_BUDGET),
}
OF_ANY_STORE = {name: make for name, make in PLACEMENTS.items() if name != "host"}


@pytest.fixture(params=["float16", "uint8"])
def store(request: pytest.FixtureRequest, random_store: RandomStore, view: MelView) -> Store:
    """A store that can be mapped."""
    return random_store(LENGTHS, view.model_copy(update={"dtype": request.param}))


@pytest.fixture(params=itertools.product(["float16", "uint8"], ["lz4", "zstd"]), ids="-".join)
def packed(request: pytest.FixtureRequest, random_store: RandomStore, view: MelView) -> Store:
    """The same recordings, compressed."""
    dtype, compression = request.param
    return random_store(LENGTHS, view.model_copy(update={"dtype": dtype, "compression": compression}))


@pytest.fixture(params=["none", "zstd"])
def remote(request: pytest.FixtureRequest, make_store: Callable[..., Store], view: MelView) -> Iterator[Store]:
    """The same recordings, raw or compressed, in a pool behind a URL."""
    rng, pool = np.random.default_rng(7), UPath("memory://pool")
    values = [rng.uniform(-100, 40, (frames, view.n_mels)).astype(np.float32) for frames in LENGTHS]
    yield make_store(values, view.model_copy(update={"compression": request.param}), pool)
    pool.fs.store.clear()


@pytest.fixture
def machine(params: Params) -> MachineParams:
    """The project's section `machine` with placement auto."""
    return params.machine.model_copy(update={"placement": "auto"})


def gathered(frames: Frames, row_B: Ints, position_BT: Ints) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = frames.finish(frames.stage(row_B, position_BT)).numpy()
    return values


def random_clips(store: Store, loop: bool) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(5)
    rows = np.concatenate([np.arange(len(store)), rng.integers(0, len(store), 40)])
    starts = clip_starts(store.frames[rows], 40, loop, rng.random(len(rows)))
    return rows, clip_positions(starts, store.frames[rows], 40, loop)


def slow_clips(store: Store, row_B: Ints, position_BT: Ints) -> npt.NDArray[np.float32]:
    """Frame after frame out of whole recordings; padding is the codec's lowest value."""
    clips = np.full((*position_BT.shape, store.view.n_mels), store.quantizer.low, np.float32)
    for clip, row, position_T in zip(clips, row_B, position_BT, strict=True):
        recording = store.read(int(row))
        for place, position in enumerate(position_T):
            if position >= 0:
                clip[place] = recording[position]
    return clips


def assert_clips_equal_the_recordings(store: Store, frames: Frames, loop: bool) -> None:
    rows, positions = random_clips(store, loop)
    clips = gathered(frames, rows, positions)
    assert clips.dtype == np.float32
    assert np.array_equal(clips, slow_clips(store, rows, positions))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_clips_equal_the_stored_recordings_bit_for_bit(
    store: Store, cpu: torch.device, placement: str, loop: bool
) -> None:
    assert_clips_equal_the_recordings(store, PLACEMENTS[placement](store, cpu), loop)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("placement", OF_ANY_STORE)
def test_clips_of_a_compressed_store_equal_its_recordings(
    packed: Store, cpu: torch.device, placement: str, loop: bool
) -> None:
    assert_clips_equal_the_recordings(packed, OF_ANY_STORE[placement](packed, cpu), loop)


@pytest.mark.parametrize("placement", OF_ANY_STORE)
def test_clips_of_a_remote_store_equal_its_recordings(remote: Store, cpu: torch.device, placement: str) -> None:
    assert remote.is_remote
    assert_clips_equal_the_recordings(remote, OF_ANY_STORE[placement](remote, cpu), loop=True)


def test_a_remote_store_goes_to_the_device_in_one_request_for_each_part(
    remote: Store, cpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = UPath("memory://pool").fs
    monkeypatch.setattr(files, "cat_file", asked := Mock(wraps=files.cat_file))
    DeviceFrames(remote, cpu)
    assert asked.call_count == len({call.args for call in asked.call_args_list}) == len(remote.manifest.parts)


@pytest.mark.parametrize("loop", [False, True])
def test_all_placements_give_identical_bits(store: Store, cpu: torch.device, loop: bool) -> None:
    rows, positions = random_clips(store, loop)
    assert len({gathered(make(store, cpu), rows, positions).tobytes() for make in PLACEMENTS.values()}) == 1


def test_packing_and_place_of_a_store_change_no_bit(
    random_store: RandomStore, remote: Store, view: MelView, cpu: torch.device, machine: MachineParams
) -> None:
    stores = [random_store(LENGTHS, view.model_copy(update={"compression": name})) for name in ("none", "lz4", "zstd")]
    clips = set()
    for store in (*stores, remote):
        rows = store.rows_of([f"{number:064x}" for number in range(len(LENGTHS))])
        positions = clip_positions(np.zeros(len(rows), np.int64), store.frames[rows], 40, loop=False)
        clips.add(gathered(open_frames(store, cpu, machine)[0], rows, positions).tobytes())
    assert len(clips) == 1


def test_padding_is_the_lowest_value_of_the_codec(store: Store, cpu: torch.device) -> None:
    row = store.rows_of([f"{1:064x}"])  # three frames long
    positions = clip_positions(np.array([-2]), store.frames[row], 40, loop=False)
    for make in PLACEMENTS.values():
        clip = gathered(make(store, cpu), row, positions)[0]
        assert (clip[:2] == store.quantizer.low).all()
        assert (clip[5:] == store.quantizer.low).all()
        assert np.array_equal(clip[2:5], store.read(int(row[0])))


def test_a_looped_clip_wraps_around_its_recording(store: Store, cpu: torch.device) -> None:
    row = store.rows_of([f"{1:064x}"])
    positions = clip_positions(np.array([2]), store.frames[row], 40, loop=True)
    looped = np.roll(np.tile(store.read(int(row[0])), (14, 1)), -2, axis=0)[:40]
    for make in PLACEMENTS.values():
        assert np.array_equal(gathered(make(store, cpu), row, positions)[0], looped)


@pytest.mark.parametrize("placement", ["host", "stream", "stream of a tiny budget"])
def test_a_staged_batch_stays_as_it_is_while_others_are_staged(store: Store, cpu: torch.device, placement: str) -> None:
    frames = PLACEMENTS[placement](store, cpu)
    batches = [(np.array([row]), np.arange(40)[None] % store.frames[row]) for row in range(len(store))] * 3
    staged = [frames.stage(*batch) for batch in batches]
    for batch, each in zip(batches, staged, strict=True):
        assert np.array_equal(frames.finish(each).numpy(), slow_clips(store, *batch))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_batches_staged_by_many_threads_are_right(store: Store, cpu: torch.device, placement: str) -> None:
    frames = PLACEMENTS[placement](store, cpu)
    rows, positions = random_clips(store, loop=True)
    batches = [(rows[place : place + 3], positions[place : place + 3]) for place in range(0, len(rows), 3)] * 8
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda batch: gathered(frames, *batch), batches))
    expected = slow_clips(store, rows, positions)
    assert np.array_equal(np.concatenate(found), np.concatenate([expected] * 8))


def test_places_of_a_store_beyond_two_billion_frames_are_exact(store: Store, cpu: torch.device) -> None:
    frames = DeviceFrames(store, cpu)
    store.__dict__["first_frame"] = store.first_frame + 2**33 + 1
    try:
        staged = frames.stage(np.array([0, 1]), np.array([[0, 1], [2, -1]]))
        assert staged.tensor.dtype == torch.int64
        first, second = (int(first) for first in store.first_frame[:2])
        assert staged.tensor.tolist() == [[first, first + 1], [second + 2, sum(LENGTHS)]]
    finally:
        del store.__dict__["first_frame"]


def test_values_beyond_two_billion_are_gathered_from_their_own_place(
    random_store: RandomStore, view: MelView, cpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is only promised, not used, but for the frames that are written and read."""
    store = random_store(LENGTHS, view.model_copy(update={"dtype": "uint8"}))
    frames = DeviceFrames(store, cpu)
    before = 2**31 // view.n_mels + 1000
    monkeypatch.setattr(frames, "stored", quantized := torch.empty((before + 3, view.n_mels), dtype=torch.uint8))
    monkeypatch.setitem(store.__dict__, "first_frame", np.array([before]))
    quantized[before:] = torch.arange(3, dtype=torch.uint8)[:, None]
    position = np.array([[2, 0, 1]])
    found = frames.finish(frames.stage(np.array([0]), position))[0]
    expected = store.quantizer.decode(np.array([2, 0, 1], np.uint8))
    assert np.array_equal(found.numpy(), np.repeat(expected[:, None], view.n_mels, axis=1))


def test_a_recording_longer_than_one_upload_arrives_whole(
    random_store: RandomStore, view: MelView, cpu: torch.device
) -> None:
    store = random_store((9000, 50, 4096, 4097), view)
    frames = DeviceFrames(store, cpu)
    for row, length in enumerate(store.frames):
        clip = gathered(frames, np.array([row]), np.arange(length)[None])[0]
        assert np.array_equal(clip, store.read(row))


def test_pcen_is_padded_with_its_own_lowest_value(
    random_store: RandomStore, pcen_view: PcenView, cpu: torch.device
) -> None:
    store = random_store((3, 50), pcen_view)
    row = store.rows_of([f"{0:064x}"])
    positions = clip_positions(np.array([0]), store.frames[row], 40, loop=False)
    for make in PLACEMENTS.values():
        assert (gathered(make(store, cpu), row, positions)[0, 3:] == 0).all()


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("recording", [0, 1, 2])
def test_an_array_is_a_store_of_one_row(store: Store, cpu: torch.device, recording: int, loop: bool) -> None:
    row = int(store.rows_of([f"{recording:064x}"])[0])
    length = store.frames[[row] * 12]
    starts = clip_starts(length, 40, loop, np.linspace(0, 0.99, 12))
    positions = clip_positions(starts, length, 40, loop)
    array = ArrayFrames(store.quantizer.encode(store.read(row)), store.quantizer, cpu)
    from_array = gathered(array, np.zeros(12, np.int64), positions)
    assert np.array_equal(from_array, gathered(HostFrames(store, cpu), np.full(12, row), positions))


@pytest.mark.parametrize(
    ("asked", "given", "said"),
    [
        ("auto", HostFrames, "from mapped files to cpu (placement host: no GPU is used)"),
        ("host", HostFrames, "from mapped files to cpu (placement host: as asked)"),
        ("device", DeviceFrames, "from memory of cpu (placement device: as asked)"),
        ("stream", StreamFrames, "from a cache of 1,500 MB to cpu (placement stream: as asked)"),
    ],
)
def test_the_line_says_how_much_is_read_from_where_and_why(
    store: Store, cpu: torch.device, machine: MachineParams, asked: str, given: type, said: str
) -> None:
    frames, line = open_frames(store, cpu, machine.model_copy(update={"placement": asked, "stream_gb": 1.5}))
    assert isinstance(frames, given)
    size_mb = sum(LENGTHS) * 32 * np.dtype(store.quantizer.dtype).itemsize / 1e6
    assert line == f"reading {size_mb:,.0f} MB of frames {said}"


def test_auto_streams_what_cannot_be_mapped(
    packed: Store, remote: Store, cpu: torch.device, machine: MachineParams
) -> None:
    for store, reason in ((packed, f"compressed with {packed.view.compression}"), (remote, "in a remote pool")):
        frames, line = open_frames(store, cpu, machine)
        assert isinstance(frames, StreamFrames)
        assert f"(placement stream: no GPU is used; the store is {reason})" in line


def test_the_stream_keeps_to_the_budget_of_the_parameters(
    packed: Store, cpu: torch.device, machine: MachineParams
) -> None:
    frames: Any = open_frames(packed, cpu, machine.model_copy(update={"stream_gb": TINY_BUDGET / 1e9}))[0]
    frames.stage(*random_clips(packed, loop=True))
    assert 0 < len(frames._reader._slots) * packed.layout.chunk_bytes <= TINY_BUDGET


def test_host_refuses_a_compressed_store_with_a_hint(packed: Store, cpu: torch.device, machine: MachineParams) -> None:
    reason = f"machine.placement: host .*tiny.zarr is compressed with {packed.view.compression}; set it to auto or"
    with pytest.raises(TrainError, match=reason):
        open_frames(packed, cpu, machine.model_copy(update={"placement": "host"}))


def test_host_refuses_a_remote_store_with_a_hint(remote: Store, cpu: torch.device, machine: MachineParams) -> None:
    with pytest.raises(TrainError, match=r"machine.placement: host .*tiny.zarr is in a remote pool; set it to auto or"):
        open_frames(remote, cpu, machine.model_copy(update={"placement": "host"}))


@pytest.mark.parametrize("placement", OF_ANY_STORE)
def test_a_damaged_chunk_is_named_by_every_placement_that_checks_it(
    make_store: Callable[..., Store], view: MelView, cpu: torch.device, placement: str
) -> None:
    values = [np.zeros((600, view.n_mels), np.float32)]
    store = make_store(values, view.model_copy(update={"compression": "lz4"}))
    shard = store.path / "parts" / store.manifest.parts[0].name / SHARD
    shard.chmod(0o644)
    shard.write_bytes(b"?" + shard.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"c/0/0: chunk 0 is damaged; holds .*; run `dvc repro`"):
        gathered(OF_ANY_STORE[placement](store, cpu), np.array([0]), np.arange(40)[None])


def test_auto_takes_the_memory_of_a_gpu_only_where_the_store_fits_in_half_of_what_is_free(
    store: Store, machine: MachineParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch has reserved and does not use is free."""
    monkeypatch.setattr("train.data.frames.DeviceFrames", lambda store, device: HostFrames(store, device))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 900)
    size = sum(LENGTHS) * 32 * np.dtype(store.quantizer.dtype).itemsize
    for free, said in ((2 * size, "memory of"), (2 * size - 1, "mapped files to")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free - 100, free))
        line = open_frames(store, torch.device("cuda"), machine)[1]
        assert f"frames from {said} cuda (placement " in line
        assert "the GPU has 0 MB free, and the store may take 50% of them" in line
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 10**9))
    with pytest.raises(TrainError, match=r"placement: device .* 0 MB are free; set it to auto or host, or .* uint8"):
        open_frames(store, torch.device("cuda"), machine.model_copy(update={"placement": "device"}))


def test_a_store_is_opened_once_for_all_that_use_it_at_the_same_time(
    store: Store, cpu: torch.device, machine: MachineParams
) -> None:
    in_memory = machine.model_copy(update={"placement": "device"})
    first, second = open_frames(store, cpu, in_memory)[0], open_frames(Store(store.path), cpu, in_memory)[0]
    assert first is second
    assert open_frames(store, cpu, machine)[0] is not first
    gone = weakref.ref(first)
    del first, second
    assert gone() is None, "nothing else keeps it"
