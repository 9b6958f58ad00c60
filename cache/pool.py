"""The pool: finished parts, each once on disk, read-only, under an address that follows from its content.

Like ccache it outlives the stores that are linked from it. A killed build finds here what it had finished, a parameter
flipped back finds its old parts, and an added recording finds the rows of its neighbours.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cache.codec import Codec, Codes
from cache.files import canonical_json, file_sha256, fsync_path, fsync_tree, link
from cache.keys import part_address
from cache.parts import METADATA, SHARD, map_chunks, write_array

ROWS = "rows.json"


@dataclass(frozen=True)
class FileFacts:
    """Size and SHA-256 of one file of a part."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class PooledPart:
    """A finished part: its folder, its recordings' keys in order, their frames, and its files."""

    folder: Path
    keys: tuple[str, ...]
    frames: tuple[int, ...]
    files: dict[str, FileFacts]


class Pool:
    """Finished parts of one view, below `<root>/<view digest>/`."""

    def __init__(self, root: Path, digest: str) -> None:
        self._folder = root / digest[:32]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._trusted: set[Path] = set()

    def find(self, keys: Sequence[str]) -> PooledPart | None:
        """The part that holds exactly these keys, if it is finished.

        The first time, its bytes are compared with their SHA-256: a damaged part is removed, so that it is built again
        instead of being linked into one more store.
        """
        folder = self._folder / part_address(keys)
        if not (folder / ROWS).exists():
            return None
        part = _read_part(folder)
        if folder not in self._trusted and not is_intact(part):
            shutil.rmtree(folder)
            return None
        self.trust(part)
        return part

    def trust(self, part: PooledPart) -> None:
        """Take a part's bytes for good from now on: somebody has just written or compared them."""
        self._trusted.add(part.folder)

    def all_parts(self) -> list[PooledPart]:
        """Every finished part of this view, damaged or not; what is still being written (`tmp-...`) is none."""
        return [_read_part(path.parent) for path in sorted(self._folder.glob(f"[0-9a-f]*/{ROWS}"))]

    def add(self, keys: Sequence[str], frames: Sequence[int], codes: Codes, codec: Codec) -> PooledPart:
        """Write a part: temp name, fsync, rename. If it is there already, or before this is done, that one is kept."""
        found = self.find(keys)
        if found is not None:
            return found
        target = self._folder / part_address(keys)
        temporary = self._folder / f"tmp-{os.getpid()}-{target.name[:16]}"
        shutil.rmtree(temporary, ignore_errors=True)
        write_array(temporary, codes, codec)
        files = {str(name): _facts(temporary / name) for name in (METADATA, SHARD)}
        rows = {
            "keys": list(keys),
            "frames": list(frames),
            "files": {name: asdict(facts) for name, facts in files.items()},
        }
        (temporary / ROWS).write_bytes(canonical_json(rows))
        for path in temporary.rglob("*.json"):
            path.chmod(0o444)
        (temporary / SHARD).chmod(0o444)
        fsync_tree(temporary)
        self._publish(temporary, target)
        return PooledPart(target, tuple(keys), tuple(frames), files)

    def _publish(self, temporary: Path, target: Path) -> None:
        try:
            temporary.rename(target)
        except OSError:
            if not (target / ROWS).exists():
                raise
            shutil.rmtree(temporary)  # another process was faster; its bytes are the same
        fsync_path(self._folder)

    def sweep(self) -> None:
        """Remove what builds that no longer live left unfinished."""
        for path in self._folder.glob("tmp-*"):
            if not _alive(int(path.name.split("-")[1])):
                shutil.rmtree(path, ignore_errors=True)


def is_intact(part: PooledPart) -> bool:
    """Whether every file of a part has the size and the SHA-256 that it was written with."""
    paths = [(part.folder / name, facts) for name, facts in part.files.items()]
    return all(path.exists() and _facts(path) == facts for path, facts in paths)


def link_part(part: PooledPart, folder: Path) -> None:
    """Show a pooled part inside a store as a zarr array, without a second copy of its bytes."""
    for name in part.files:
        link(part.folder / name, folder / name)


def map_part(part: PooledPart, mel_bins: int, codec: Codec) -> Any:
    """Map a pooled part's codes: (N, 512, M)."""
    return map_chunks(part.folder, mel_bins, codec.dtype)


def _facts(path: Path) -> FileFacts:
    return FileFacts(path.stat().st_size, file_sha256(path))


def _read_part(folder: Path) -> PooledPart:
    rows = json.loads((folder / ROWS).read_text())
    files = {name: FileFacts(**facts) for name, facts in rows["files"].items()}
    return PooledPart(folder, tuple(rows["keys"]), tuple(rows["frames"]), files)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
