"""Small file operations that a crash cannot leave half done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from birdcache.errors import StoreError

SEAL = "seal"  # key of a JSON file's own digest, its last one


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def checksummed_json(content: dict[str, Any]) -> bytes:
    """JSON that ends in its own digest, so that `verified_json` notices every change of a byte."""
    body = json.dumps(content, indent=2, ensure_ascii=False)
    return json.dumps({**content, SEAL: sha256_hex(body.encode())}, indent=2, ensure_ascii=False).encode() + b"\n"


def verified_json(data: bytes) -> dict[str, Any]:
    """What `checksummed_json` wrote.

    Raises
    ------
    ValueError
        If any byte is another one.
    """
    content = json.loads(data)
    if not isinstance(content, dict) or SEAL not in content:
        raise ValueError("has no seal")
    body = {key: value for key, value in content.items() if key != SEAL}
    if checksummed_json(body) != data:  # the bytes and not the digests alone: 1e5 and 1E5 are one number
        raise ValueError("has other bytes than its seal promises")
    return body


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError say which file it is about: one of a write to an open file does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def fsync_path(path: Path) -> None:
    """Force a file or a directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Force every file and folder below `folder` to disk, itself included."""
    for path in folder.rglob("*"):
        fsync_path(path)
    fsync_path(folder)


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Word what a disk refuses while `what` is being written.

    Raises
    ------
    StoreError
        With the file's name, in place of an OSError.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):  # of a cluster
        raise
    except OSError as error:
        raise StoreError(
            f"{error.filename or what}: cannot be written ({error.strerror or error}); whatever was finished before is "
            f"as it was: make room (`birdcache cache gc`), or set machine.pool or BIRDCACHE_POOL to another disk, then "
            f"run the stage again"
        ) from error


def temporary_name(path: Path) -> Path:
    """Where this process writes a file before it takes its place; see `sweep_temporary`."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def sweep_temporary(folder: Path) -> None:
    """Remove what killed processes began to write in a folder; nobody may be writing there."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that either exists whole or not at all: temp name, fsync, rename, fsync of the folder.

    Raises
    ------
    OSError
        If the disk refuses; nothing is left of the attempt.
    """
    temporary = temporary_name(path)
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def link(source: Path, target: Path) -> None:
    """Let `target` share the bytes of `source`: a hard link, else a symbolic link, else a copy.

    Raises
    ------
    OSError
        If there is no `source`, or the disk refuses even the copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        try:
            target.symlink_to(source.resolve(strict=True))
        except OSError:
            with naming(target):
                shutil.copyfile(source, target)
                fsync_path(target)
