"""Read a sealed store: which recordings it holds, and their frames."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from cache.codec import Codes
from cache.errors import StoreError
from cache.files import file_sha256
from cache.manifest import INDEX_AUDIO, INDEX_SPANS, NAME, FileEntry, Manifest, read_manifest
from cache.parts import check_chunks, copy_rows, map_chunks
from params import MelView, PcenView

Ints = npt.NDArray[np.int64]


class Store:
    """A sealed store, opened for reading.

    Recordings are numbered 0 to `len(store) - 1`; `rows_of` turns SHA-256s of audio files into these numbers. Frames
    of all recordings form one long axis, part after part; `first_frame` and `frames` place each recording on it.
    """

    def __init__(self, path: Path, view: MelView | PcenView | None = None) -> None:
        """Open a store and check that every file has the size that its manifest names.

        Parameters
        ----------
        view : what params.yaml says now; None skips that comparison.

        Raises
        ------
        StoreError
            If the store is unfinished, incomplete, or was built for another view.
        """
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        self.view = self.manifest.view
        self.codec = self.manifest.to_codec()
        if view is not None and view != self.view:
            raise StoreError(f"{path}: was built for another view than params.yaml describes now; run `dvc repro`")
        for name, entry in self._files():
            _check_size(path / name, entry)
        group = zarr.open_group(path, mode="r")
        spans: Any = group[INDEX_SPANS]
        self._part, self._start, self.frames = (np.ascontiguousarray(column) for column in spans[:].T)
        audio: Any = group[INDEX_AUDIO]
        self._audio = [row.tobytes().hex() for row in audio[:]]

    def __len__(self) -> int:
        return len(self._audio)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which stands for every byte of the store."""
        return file_sha256(self.path / NAME)

    @cached_property
    def _row_by_audio(self) -> dict[str, int]:
        return {sha256: row for row, sha256 in enumerate(self._audio)}

    @cached_property
    def first_frame(self) -> Ints:
        """(N,) place of each recording's first frame on the axis of all frames."""
        before = np.cumsum([0, *(part.frames for part in self.manifest.parts)])
        return np.asarray(before[self._part] + self._start, np.int64)

    @cached_property
    def _chunks(self) -> list[Any]:
        return [
            map_chunks(self._folder(number), self.view.n_mels, self.codec.dtype)
            for number in range(len(self.manifest.parts))
        ]

    def rows_of(self, audio_sha256: list[str]) -> Ints:
        """(N,) row of each audio file, -1 where the store does not hold it."""
        return np.array([self._row_by_audio.get(sha256, -1) for sha256 in audio_sha256], np.int64)

    def read(self, row: int) -> npt.NDArray[np.float32]:
        """All frames of one recording: (T, M) float32, in the view's unit."""
        codes = self.empty(int(self.frames[row]))
        self.copy_frames(row, 0, codes)
        return self.codec.decode(codes)

    def copy_frames(self, row: int, start: int, out: Any) -> None:
        """Copy codes of recording `row` into `out` (T, M), from its frame `start` on; they must lie inside it."""
        copy_rows(self._chunks[self._part[row]], int(self._start[row]) + start, out)

    def empty(self, frames: int) -> Codes:
        """An uninitialised array (frames, M) of codes."""
        return np.empty((frames, self.view.n_mels), self.codec.dtype)

    def all_codes(self) -> Iterator[Codes]:
        """Codes of each part in order, (T, M): together the axis of all frames."""
        for part, chunks in zip(self.manifest.parts, self._chunks, strict=True):
            codes = self.empty(part.frames)
            copy_rows(chunks, 0, codes)
            yield codes

    def verify(self) -> None:
        """Compare every file with its SHA-256 and every chunk with its CRC-32C.

        Raises
        ------
        StoreError
            At the first file whose bytes are not those that were sealed.
        """
        for name, entry in self._files():
            if file_sha256(self.path / name) != entry.sha256:
                raise StoreError(
                    f"{self.path / name}: its bytes changed since it was sealed; run `dvc repro -f` of its stage"
                )
        for number, chunks in enumerate(self._chunks):
            check_chunks(self._folder(number), chunks)

    def _folder(self, number: int) -> Path:
        return self.path / "parts" / self.manifest.parts[number].name

    def _files(self) -> Iterator[tuple[str, FileEntry]]:
        yield from self.manifest.files.items()
        for part in self.manifest.parts:
            for name, entry in part.files.items():
                yield f"parts/{part.name}/{name}", entry


def _check_size(path: Path, entry: FileEntry) -> None:
    """zarr reads a missing or empty shard as zeros, so sizes are compared first."""
    size = path.stat().st_size if path.exists() else None
    if size != entry.bytes:
        found = "is missing" if size is None else f"has {size} bytes"
        raise StoreError(f"{path}: {found}, its manifest says {entry.bytes}; run `dvc repro -f` of its stage")
