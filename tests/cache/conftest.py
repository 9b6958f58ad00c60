"""A small view and committed stores of known values."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from birdcache.files import sha256_hex
from birdcache.params.views import MelView
from cache.keys import content_key, view_digest
from cache.pool import LocalPool
from cache.quantize import Quantizer
from cache.shard import Layout
from cache.store_writer import NamedPart, commit_store
from tests.fixtures.parts import add_part

Parts = Mapping[str, Sequence[int]]
PARTS: Parts = {"0": (700, 3, 512), "a": (1, 1100)}  # frames of each recording


@dataclass(frozen=True)
class CommittedStore:
    """A store and what it should hold: the codes of each recording by its audio's SHA-256, in order of rows."""

    path: Path
    pool: Path
    view: MelView
    quantizer: Quantizer
    quantized: dict[str, npt.NDArray[Any]]


VIEW = MelView(
    kind="mel",
    sample_rate_hz=16000,
    n_fft=512,
    hop=256,
    n_mels=8,
    mel_scale="slaney",
    fmin_hz=50.0,
    fmax_hz=8000.0,
    dtype="float16",
    compression="none",
)


def commit_known_store(
    root: Path,
    dtype: Literal["float16", "uint8"] = "float16",
    parts: Parts = PARTS,
    seed: int = 1,
    compression: Literal["none", "lz4", "zstd"] = "none",
) -> CommittedStore:
    """Commit root/mel.zarr over root/pool; `seed` chooses its values."""
    view = VIEW.model_copy(update={"dtype": dtype, "compression": compression})
    quantizer, digest = Quantizer(dtype, -100.0, 28.0), view_digest(view, 1, "decoder")
    pool, rng = LocalPool(root / "pool", digest), np.random.default_rng(seed)
    named: list[NamedPart] = []
    quantized: dict[str, npt.NDArray[Any]] = {}
    for name, frames in parts.items():
        audio = tuple(sha256_hex(f"{name}{number}".encode()) for number in range(len(frames)))
        values = rng.uniform(-100, 28, (sum(frames), view.n_mels)).astype(np.float32)
        rows: list[Any] = np.split(quantizer.encode(values), np.cumsum(frames)[:-1])
        keys = [content_key(sha256, digest) + str(seed) for sha256 in audio]
        named.append(NamedPart(name, add_part(pool, Layout.of(view, quantizer), keys, rows), audio))
        quantized |= dict(zip(audio, rows, strict=True))
    commit_store(root / "mel.zarr", view, digest, quantizer, named)
    return CommittedStore(root / "mel.zarr", root / "pool", view, quantizer, quantized)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the disk these tests take half the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def view() -> MelView:
    """A view of 8 mel bins."""
    return VIEW


@pytest.fixture
def make_committed(tmp_path: Path) -> Callable[..., CommittedStore]:
    """`commit_known_store` below tmp_path."""
    return partial(commit_known_store, tmp_path)


@pytest.fixture(scope="session")
def committed_once(tmp_path_factory: pytest.TempPathFactory) -> CommittedStore:
    """A float16 store of five recordings in two parts, for `committed` to copy."""
    return commit_known_store(tmp_path_factory.mktemp("committed"))


@pytest.fixture
def committed(committed_once: CommittedStore, tmp_path: Path) -> CommittedStore:
    """A copy of that store, to read or to damage."""
    shutil.copytree(committed_once.path, tmp_path / "mel.zarr")
    return replace(committed_once, path=tmp_path / "mel.zarr")
