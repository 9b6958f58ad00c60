"""Single bits of a store that flip, as on a failing disk: each must be noticed, and its file named.

Half of the bits are drawn from all bits of the store, half from a file drawn first, so that small files have their
share. Asked are `birdcache verify`, which must name the file, and readers, who must raise an error that names it or
give every frame as it was: what only other programs read, metadata of parts, is no reader's business.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.stores import write_store
from birdcache.errors import StoreError
from birdcache.params import load as params
from cache.store import Store
from cache.verify import Contents, find_corruption
from tests.fixtures.tiny import ROOT
from tests.torture.outcome import Outcome

NAME = "bits of a store flipped"
STORE_MB = 2.0
COMPRESSIONS: tuple[Literal["none", "zstd"], ...] = ("none", "zstd")


def trial(tried: int = 900, seed: int = 1) -> Outcome:
    """Flip `tried` bits one after another: half of them of a raw store, half of a compressed one."""
    rng, missed, noticed_by_readers = np.random.default_rng(seed), list[str](), 0
    view = params.load(ROOT / "params.yaml").spectrograms["mel"]
    with tempfile.TemporaryDirectory() as name:
        for compression in COMPRESSIONS:
            store = write_store(Path(name), view, compression, STORE_MB).path
            expected, files = _frames(store), [path for path in sorted(store.rglob("*")) if path.is_file()]
            for _ in range(tried // len(COMPRESSIONS)):
                path, bit = _draw(files, rng)
                with _flipped(path, bit):
                    read = _read(store, path, expected)
                    noticed_by_readers += read == "named"
                    if not _is_found(store, path) or read == "wrong":
                        missed.append(f"bit {bit} of {path.relative_to(store)} ({compression})")
    figure = f"all files named; readers met {noticed_by_readers} of them, and gave right frames in spite of the others"
    return Outcome(NAME, tried, len(missed), missed[0] if missed else "", figure if not missed else "some were missed")


def _draw(files: list[Path], rng: np.random.Generator) -> tuple[Path, int]:
    """A file of the store and one of its bits."""
    sizes = np.array([path.stat().st_size for path in files])
    number = int(rng.choice(len(files), p=sizes / sizes.sum() if rng.random() < 0.5 else None))
    return files[number], int(rng.integers(8 * sizes[number]))


@contextmanager
def _flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file is the other way round, in a file of its own, since a store shares its files with the pool."""
    kept = path.with_name(f"{path.name}.kept")
    path.rename(kept)
    content = bytearray(kept.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        yield
    finally:
        kept.replace(path)


def _is_found(store: Path, path: Path) -> bool:
    """Whether `birdcache verify` would name the file, and no other."""
    try:
        named = {corruption.file for corruption in find_corruption(Contents(store), full=False)}
    except StoreError as error:
        return str(error).startswith(f"{path}: ")
    return named == {path}


def _read(store: Path, path: Path, expected: list[npt.NDArray[np.float32]]) -> str:
    """What readers do: `named` the file, `right` frames, or `wrong`."""
    try:
        found = _frames(store)
    except StoreError as error:
        return "named" if str(error).startswith(f"{path}: ") else "wrong"
    is_right = len(found) == len(expected) and all(map(np.array_equal, found, expected))
    return "right" if is_right else "wrong"


def _frames(path: Path) -> list[npt.NDArray[np.float32]]:
    store = Store(path)
    return [store.read(row) for row in range(len(store))]
