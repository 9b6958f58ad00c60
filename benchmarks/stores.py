"""Stores of made-up spectrograms, which take as long to read as real ones, and random clips of them."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from birdcache.arrays import Ints
from birdcache.files import sha256_hex
from birdcache.params.views import MelView, PcenView
from cache.keys import content_key, part_bits, part_name, view_digest
from cache.pool import LocalPool
from cache.quantize import QuantizedArray, Quantizer
from cache.shard import Layout
from cache.store import Store
from cache.store_writer import NamedPart, commit_store
from pipeline.builder.frontend import value_range

NOISE_FRAMES = 2**16
MEDIAN_FRAMES = 1500  # of a recording: 24 s at hop 512 and 32 kHz
CLIP_FRAMES, BATCH = 313, 64  # clips of 5 s at hop 512 and 32 kHz


def write_store(
    folder: Path,
    view: MelView | PcenView,
    compression: Literal["none", "lz4", "zstd"],
    megabytes: float,
    processes: int = 1,
) -> Store:
    """Write folder/<compression>.zarr with this many megabytes of frames before compression."""
    view = view.model_copy(update={"compression": compression})
    quantizer, digest = Quantizer(view.dtype, *value_range(view)), view_digest(view, 1, "none")
    lengths = recording_frames(megabytes * 1e6 / Layout.of(view, quantizer).frame_bytes)
    parts = grouped(lengths, digest, part_bits(megabytes * 1e6))
    write = partial(_write_part, folder / "pool", view, quantizer, digest, lengths)
    with ProcessPoolExecutor(processes) if processes > 1 else nullcontext() as pool:
        named = list((pool.map if pool else map)(write, parts.items()))
    commit_store(folder / f"{compression}.zarr", view, digest, quantizer, named)
    return Store(folder / f"{compression}.zarr")


def megabytes_of(view: MelView | PcenView, hours: float) -> float:
    """Size of a store of so much audio."""
    frames = hours * 3600 * view.sample_rate_hz / view.hop
    return frames * view.n_mels * (2 if view.dtype == "float16" else 1) / 1e6


def _write_part(
    pool_folder: Path,
    view: MelView | PcenView,
    quantizer: Quantizer,
    digest: str,
    lengths: npt.NDArray[np.int64],
    part: tuple[str, list[tuple[str, int]]],
) -> NamedPart:
    pool, (name, recordings) = LocalPool(pool_folder, digest), part
    rng = np.random.default_rng(int(name, 16))
    with pool.new_part(Layout.of(view, quantizer)) as part_writer:
        for key, number in recordings:
            part_writer.add(key, [spectrogram_like(rng, int(lengths[number]), quantizer, view.n_mels)])
        return NamedPart(name, pool.publish(part_writer), tuple(audio_sha256(number) for _, number in recordings))


def recording_frames(total: float) -> npt.NDArray[np.int64]:
    """Lengths of recordings, log-normal like those in the field, that add up to about `total` frames."""
    rng = np.random.default_rng(2)
    drawn = np.maximum(rng.lognormal(np.log(MEDIAN_FRAMES), 0.8, int(total // MEDIAN_FRAMES) + 1).astype(np.int64), 400)
    return drawn[: int(np.searchsorted(np.cumsum(drawn), total)) + 1]


def grouped(lengths: npt.NDArray[np.int64], digest: str, bits: int) -> dict[str, list[tuple[str, int]]]:
    """(key, number) of the recordings of each part, in order."""
    parts: dict[str, list[tuple[str, int]]] = {}
    for key, number in sorted((content_key(audio_sha256(number), digest), number) for number in range(len(lengths))):
        parts.setdefault(part_name(key, bits), []).append((key, number))
    return parts


def spectrogram_like(rng: np.random.Generator, frames: int, quantizer: Quantizer, mel_bins: int) -> QuantizedArray:
    """Quantised values (T, M) of noise over a background that differs by bin: as hard to compress as a recording."""
    background_M = rng.uniform(-85, -45, mel_bins).astype(np.float32)
    noise_TM = _noise(mel_bins)
    place_T = (rng.integers(len(noise_TM)) + np.arange(frames)) % len(noise_TM)
    return quantizer.encode(background_M + noise_TM[place_T])


@cache
def _noise(mel_bins: int) -> npt.NDArray[np.float32]:
    """Noise of which each recording takes a piece: drawing 280 hours of it would take minutes."""
    return np.random.default_rng(6).standard_normal((NOISE_FRAMES, mel_bins), np.float32) * np.float32(4)


def audio_sha256(number: int) -> str:
    """A stand-in for the SHA-256 of a recording's audio."""
    return sha256_hex(str(number).encode())


def forget_pages(store: Store) -> None:
    """Drop a store's files from the page cache, as after a restart; files that a process maps stay."""
    for path in (path for path in store.path.rglob("*") if path.is_file()):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def draw_batches(store: Store, count: int) -> list[tuple[Ints, Ints]]:
    """Random clips inside their recordings: batches of rows (B,) and positions (B, T), as training plans them."""
    rng = np.random.default_rng(3)
    long_enough = np.flatnonzero(store.frames >= CLIP_FRAMES)
    batches = []
    for _ in range(count):
        row_B = rng.choice(long_enough, BATCH)
        start_B = rng.integers(0, store.frames[row_B] - CLIP_FRAMES + 1)
        batches.append((row_B, start_B[:, None] + np.arange(CLIP_FRAMES)))
    return batches
