"""Small file operations that a crash cannot leave half done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

SEAL = "seal"  # key of a JSON file's own digest, its last one


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sealed_json(content: dict[str, Any]) -> bytes:
    """JSON that ends in its own digest, so that `unsealed_json` notices every change of a byte."""
    body = json.dumps(content, indent=2, ensure_ascii=False)
    return json.dumps({**content, SEAL: sha256_hex(body.encode())}, indent=2, ensure_ascii=False).encode() + b"\n"


def unsealed_json(data: bytes) -> dict[str, Any]:
    """What `sealed_json` wrote.

    Raises
    ------
    ValueError
        If any byte is another one.
    """
    content = json.loads(data)
    if not isinstance(content, dict) or SEAL not in content:
        raise ValueError("has no seal")
    body = {key: value for key, value in content.items() if key != SEAL}
    if sealed_json(body) != data:  # the bytes and not the digests alone: 1e5 and 1E5 are one number
        raise ValueError("has other bytes than its seal promises")
    return body


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Force a file or a directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Force every file and folder below `folder` to disk, itself included."""
    for path in folder.rglob("*"):
        fsync_path(path)
    fsync_path(folder)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that either exists whole or not at all: temp name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
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
            shutil.copyfile(source, target)
            fsync_path(target)
