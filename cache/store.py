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
from cache.files import file_sha256, sha256_hex
from cache.manifest import INDEX_AUDIO, INDEX_SPANS, NAME, FileEntry, Manifest, read_manifest
from cache.parts import SHARD, PartReader, copy_rows, map_parts
from cache.places import Place
from cache.shard import Layout, chunks_of
from cache.whereabouts import part_places, remote_sizes
from schema.views import MelView, PcenView

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
        self._places = part_places(path)
        self._check_sizes()
        group = zarr.open_group(path, mode="r")
        spans: Any = group[INDEX_SPANS]
        self.part, self.start, self.frames = (np.ascontiguousarray(column) for column in spans[:].T)
        audio: Any = group[INDEX_AUDIO]
        self._audio: npt.NDArray[np.uint8] = audio[:]

    def __len__(self) -> int:
        return len(self._audio)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which stands for every byte of the store."""
        return file_sha256(self.path / NAME)

    @property
    def layout(self) -> Layout:
        """How the store's chunks are written."""
        return Layout.of(self.view, self.codec)

    @property
    def is_mappable(self) -> bool:
        """Whether its frames can be mapped into memory: local and not compressed."""
        return not self.is_remote and self.layout.compression == "none"

    @property
    def is_remote(self) -> bool:
        """Whether its parts lie elsewhere, in a remote pool."""
        return bool(self._places)

    @property
    def audio_sha256(self) -> list[str]:
        """(N,) SHA-256 of each row's audio file."""
        return [digest.tobytes().hex() for digest in self._audio]

    @cached_property
    def _by_audio(self) -> tuple[Any, Ints]:
        """(N,) SHA-256s in ascending order, 32 bytes each, and their rows."""
        audio = self._audio.view("S32").reshape(-1)
        order = np.argsort(audio)
        return audio[order], order

    @cached_property
    def first_frame(self) -> Ints:
        """(N,) place of each recording's first frame on the axis of all frames."""
        before = np.cumsum([0, *(part.frames for part in self.manifest.parts)])
        return np.asarray(before[self.part] + self.start, np.int64)

    @cached_property
    def mapped_parts(self) -> list[Any]:
        """Each part of a mappable store as (N, 512, M); all at once, so that replacing the store changes nothing."""
        return map_parts([self.path / "parts" / part.name for part in self.manifest.parts], self.layout)

    @cached_property
    def _readers(self) -> list[PartReader]:
        return [self.reader(number) for number in range(len(self.manifest.parts))]

    def reader(self, part: int) -> PartReader:
        """A reader of one part's chunks, for one thread."""
        entry = self.manifest.parts[part]
        return PartReader(self._folder(part), self.layout, entry.frames, entry.files[SHARD.as_posix()].bytes)

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

    def read(self, row: int) -> npt.NDArray[np.float32]:
        """All frames of one recording: (T, M) float32, in the view's unit."""
        codes = self.empty(int(self.frames[row]))
        self.copy_frames(row, 0, codes)
        return self.codec.decode(codes)

    def copy_frames(self, row: int, start: int, out: Any) -> None:
        """Copy codes of recording `row` into `out` (T, M), from its frame `start` on; they must lie inside it."""
        part, first = int(self.part[row]), int(self.start[row]) + start
        if self.is_mappable:
            copy_rows(self.mapped_parts[part], first, out)
            return
        done = 0
        for codes in self._readers[part].rows(first, len(out)):
            out[done : done + len(codes)] = codes
            done += len(codes)

    def empty(self, frames: int) -> Codes:
        """An uninitialised array (frames, M) of codes."""
        return np.empty((frames, self.view.n_mels), self.codec.dtype)

    def all_codes(self) -> Iterator[Codes]:
        """Codes of all recordings in pieces (T, M): together the axis of all frames."""
        for number, part in enumerate(self.manifest.parts):
            reader = self.reader(number)
            if self.is_remote:
                reader.fetch()
            yield from reader.rows(0, part.frames)

    def verify(self) -> None:
        """Compare every file with its SHA-256 and every chunk with its CRC-32C.

        Raises
        ------
        StoreError
            At the first file whose bytes are not those that were sealed.
        """
        for name, entry in self._files():
            if self._sha256(name) != entry.sha256:
                raise StoreError(
                    f"{self._place(name)}: its bytes changed since it was sealed; run `dvc repro -f` of its stage"
                )
        for number, part in enumerate(self.manifest.parts):
            reader = self.reader(number)
            if self.is_remote:
                reader.fetch()
            for chunk in range(chunks_of(part.frames)):
                reader.chunk(chunk)

    def _sha256(self, name: str) -> str:
        where = self._place(name)
        return file_sha256(where) if isinstance(where, Path) else sha256_hex(where.read_bytes())

    def _folder(self, number: int) -> Place:
        name = self.manifest.parts[number].name
        return self._places.get(name, self.path / "parts" / name)

    def _place(self, name: str) -> Place:
        """Where a file of the manifest lies: `parts/<name>/...` perhaps elsewhere."""
        top, _, rest = name.partition("/")
        part, _, file = rest.partition("/")
        return self._places[part] / file if top == "parts" and part in self._places else self.path / name

    def _files(self) -> Iterator[tuple[str, FileEntry]]:
        yield from self.manifest.files.items()
        for part in self.manifest.parts:
            for name, entry in part.files.items():
                yield f"parts/{part.name}/{name}", entry

    def _check_sizes(self) -> None:
        """zarr reads a missing or empty shard as zeros, so sizes are compared first."""
        remote = remote_sizes(self._places)
        for name, entry in self._files():
            where = self._place(name)
            size = _local_size(where) if isinstance(where, Path) else remote.get(where.path)
            if size != entry.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise StoreError(f"{where}: {found}, its manifest says {entry.bytes}; run `dvc repro -f` of its stage")


def _local_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
