"""A store opened for reading: its recordings and their frames."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32, Ints
from birdcache.errors import StoreError
from birdcache.files import file_sha256
from birdcache.params.embedding import Output, StoredEmbedding
from birdcache.params.views import StoredView, ViewParams, describes
from cache.manifest import NAME, read_index
from cache.mapped import MappedParts
from cache.part import PartReader
from cache.quantize import QuantizedArray
from cache.verify import Contents


def digest_file(store: Path) -> Path:
    """data/stores/<name>.sha256 has the digest of data/cache/<name>.zarr: stages depend on it in the store's place.

    DVC looks at every file of a dependency, in each command and for each stage that has it.
    """
    return store.parents[1] / "stores" / f"{store.stem}.sha256"


class Store:
    """A committed store, opened for reading.

    Recordings are numbered 0 to `len(store) - 1`; `rows_of` turns SHA-256s of audio files into these numbers. Frames
    of all recordings form one long axis, part after part; `first_frame` and `frames` place each recording on it.
    """

    def __init__(self, path: Path, view: ViewParams | StoredView | None = None) -> None:
        """Open a store; compare the index with its SHA-256, and the size of every other file with the manifest.

        The frames themselves are compared with their checksums when they are read. A StoreError if the store is
        unfinished, incomplete, damaged, or was built for another view.

        Parameters
        ----------
        view : what params.yaml says now; None skips that comparison.
        """
        self.path = path
        self._contents = Contents(path)
        self.manifest = self._contents.manifest
        self.view = self.manifest.view
        self.quantizer, self.layout = self.manifest.codec, self._contents.layout
        self.is_remote = self._contents.is_remote  # whether its parts lie in a remote pool
        if view is not None and not describes(view, self.view):
            raise StoreError(f"{path}: was built for another view than params.yaml describes now; run `dvc repro`")
        for corruption in self._contents.corrupted_own_files():
            raise corruption.error()
        self._index = read_index(path)
        for corruption in self._contents.parts_of_wrong_size(self._index):
            raise corruption.error()
        self.part, self.start, self.frames = self._index.part, self._index.start, self._index.frames

    def __len__(self) -> int:
        return len(self._index.audio)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which stands for every byte of the store."""
        return file_sha256(self.path / NAME)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The columns of each of a network's outputs, `embedding` before `scores`; none for spectrograms."""
        return self.view.outputs if isinstance(self.view, StoredEmbedding) else ()

    @property
    def is_mappable(self) -> bool:
        """True if its frames can be mapped into memory: local and not compressed."""
        return not self.is_remote and self.layout.compression == "none"

    @property
    def audio_sha256(self) -> list[str]:
        """(N,) SHA-256 of each row's audio file."""
        return [digest.tobytes().hex() for digest in self._index.audio]

    @cached_property
    def _by_audio(self) -> tuple[Any, Ints]:
        """(N,) SHA-256s in ascending order, 32 bytes each, and their rows."""
        audio = self._index.audio.view("S32").reshape(-1)
        order = np.argsort(audio)
        return audio[order], order

    @cached_property
    def first_frame(self) -> Ints:
        """(N,) place of each recording's first frame on the axis of all frames."""
        before = np.cumsum([0, *(part.frames for part in self.manifest.parts)])
        return np.asarray(before[self.part] + self.start, np.int64)

    @cached_property
    def mapped(self) -> MappedParts:
        """The parts of a mappable store; all at once, so that replacing the store changes nothing."""
        folders = [self.path / "parts" / part.name for part in self.manifest.parts]
        return MappedParts(folders, self.layout, self._index)

    @cached_property
    def _readers(self) -> list[PartReader]:
        return [self.reader(number) for number in range(len(self.manifest.parts))]

    def reader(self, part: int) -> PartReader:
        """A reader of one part's chunks, for one thread."""
        return self._contents.reader(part, self._index)

    def rows_of(self, audio_sha256: list[str]) -> Ints:
        """(N,) row of each audio file, -1 where the store does not hold it."""
        known, rows = self._by_audio
        wanted = np.array([bytes.fromhex(sha256) for sha256 in audio_sha256], "S32")
        if not len(known):
            return np.full(len(wanted), -1, np.int64)
        ascending = np.argsort(wanted)  # so that neighbours are looked for next to each other: five times as fast
        place = np.empty(len(wanted), np.int64)
        place[ascending] = np.searchsorted(known[:-1], wanted[ascending])
        return np.where(known[place] == wanted, rows[place], -1)

    def read(self, row: int) -> Floats32:
        """All frames of one recording: (T, M) float32, in the view's unit."""
        quantized = self.empty(int(self.frames[row]))
        self.copy_frames(row, 0, quantized)
        return self.quantizer.decode(quantized)

    def copy_frames(self, row: int, start: int, out: Any) -> None:
        """Copy the values of recording `row`, from its frame `start` on, into `out` (T, M); they must lie inside it."""
        self.copy_rows(int(self.part[row]), int(self.start[row]) + start, out)

    def copy_rows(self, part: int, first: int, out: Any, reader: PartReader | None = None) -> None:
        """Copy a part's rows, from `first` on, into `out` (T, M), each chunk compared with its checksum.

        A store that cannot be mapped is read by `reader`, or by one that all threads share.
        """
        if self.is_mappable:
            pieces = self.mapped.rows(part, first, len(out))
        else:
            pieces = (reader or self._readers[part]).rows(first, len(out))
        done = 0
        for quantized in pieces:
            out[done : done + len(quantized)] = quantized
            done += len(quantized)

    def empty(self, frames: int) -> QuantizedArray:
        """An uninitialised array (frames, M) of quantised values."""
        return np.empty((frames, self.view.n_mels), self.quantizer.dtype)


def open_named(path: Path, view: ViewParams | StoredView | None = None) -> Store:
    """Open a store, if it is the one that stage `spectrograms` left; arguments as of `Store`.

    A StoreError as `Store`; or if its digest is not the one in its `digest_file`.
    """
    store, named = Store(path, view), digest_file(path)
    if not named.is_file() or named.read_bytes() != f"{store.digest}\n".encode():
        raise StoreError(f"{path}: is not the store whose digest stands in {named}; run `dvc repro`")
    return store
