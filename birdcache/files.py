"""Files: written whole or not at all, checksummed, linked, locked."""

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, TextIO

from birdcache.errors import FULL, StoreError, os_trouble
from birdcache.formulas import escaped_text

SEAL = "seal"  # key of the digest of a JSON file that people may read
NOT_IN_URLS = ":?%"  # would turn a path into another URL
PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
LONGEST_NAME_BYTES = 255  # in most file systems
DIGEST = "sha256"  # the same of a canonical one


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def readable_json(value: Any) -> bytes:
    """JSON with a line for each value, keys in their own order."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def checksummed_json(content: dict[str, Any], *, canonical: bool = False) -> bytes:
    """JSON that holds its own SHA-256, so that `verified_json` notices every change of a byte.

    Parameters
    ----------
    canonical : sorted and without spaces or line end, for machines; otherwise indented, the digest last.
    """
    dump, key, end = (canonical_json, DIGEST, b"") if canonical else (readable_json, SEAL, b"\n")
    return dump({**content, key: sha256_hex(dump(content))}) + end


def verified_json(data: bytes, *, canonical: bool = False) -> dict[str, Any]:
    """The content that `checksummed_json` wrote; a ValueError if it is no such JSON, or any byte has changed."""
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    key = DIGEST if canonical else SEAL
    if not isinstance(content, dict) or key not in content:
        raise ValueError("has no checksum")
    body = {name: value for name, value in content.items() if name != key}
    if checksummed_json(body, canonical=canonical) != data:  # bytes, not values: 1e5 and 1E5 are one number
        raise ValueError("does not match its own checksum")
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
    """Name the file in an OSError: one raised by a write to an open file does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def fsync_path(path: Path) -> None:
    """Force a file or a directory to disk; not on Windows, which opens no directories."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Force every file and folder below `folder` to disk, itself included; at once, so that they wait together."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(fsync_path, [*folder.rglob("*"), folder]))


def remove_tree(folder: Path) -> None:
    """Remove a folder as far as that goes, what is below its folders at once: a disk may let each wait for some ms."""
    inner = [path for path in folder.glob("*/*") if not (folder.is_symlink() or path.parent.is_symlink())]
    with ThreadPoolExecutor() as threads:
        list(threads.map(partial(shutil.rmtree, ignore_errors=True), inner))
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn an OSError into a StoreError that says that `what` cannot be written, and the way out."""
    try:
        yield
    except (ConnectionError, TimeoutError):  # of a cluster
        raise
    except OSError as error:
        full = " (`birdcache cache gc`), or set machine.pool or BIRDCACHE_POOL to another disk"
        way_out = full if error.errno in FULL else ""
        raise StoreError(
            f"{error.filename or what}: cannot be written: {os_trouble(error)}{way_out}, then run the stage again; all "
            f"finished work is kept"
        ) from error


def sweep_temporary(folder: Path) -> None:
    """Remove files that killed processes left half written in a folder; nobody may be writing there."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file as `replacing`, or not at all by an OSError: temporary name, fsync, rename, fsync of the folder."""
    with replacing(path) as file:
        file.buffer.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that replaces `path` once it is complete and on the disk; the folder is made.

    Nothing is left of an attempt that fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # see `sweep_temporary`
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path), temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as indented JSON, keys in the order given; a StoreError if the disk refuses."""
    with writing(path):
        write_durably(path, readable_json(report) + b"\n")


def link(source: Path, target: Path) -> None:
    """Let `target` share the bytes of `source`: a hard link, else a symbolic link, else a copy.

    An OSError if there is no `source`, or not even a copy can be written.
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


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write text in UTF-8, piece by piece; line ends are part of the pieces."""
    with replacing(path) as file:
        file.writelines(lines)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8."""
    write_lines(path, [text])


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a CSV file in UTF-8 with \\n line ends, row by row, and no cell is a formula; the number of rows."""
    written = 0
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(escaped_text, columns))
        for row in rows:
            writer.writerow(map(escaped_text, row))
            written += 1
    return written


def lock(file: IO[Any] | int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed or this process ends, however it ends.

    Parameters
    ----------
    shared : others may hold it shared too.
    wait : until the lock is free; a lock that this process holds changes its kind.

    Returns
    -------
    False if another process holds the lock and `wait` is not set.
    """
    import fcntl  # Windows has none, and runs bundles without a lock

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_inner_path(text: str, remote: bool = False) -> bool:
    """True if a text is a relative path that stays below its folder, under POSIX and Windows alike."""
    if len(text) <= LONGEST_NAME_BYTES and PLAIN_PATH.fullmatch(text):  # as most are: tables may hold millions
        return True
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    if not posix.parts or ".." in posix.parts or posix.is_absolute() or windows.drive or windows.root:
        return False
    marks = ["\\", "://", *(NOT_IN_URLS if remote else "")]
    if not text.isprintable() or any(mark in text for mark in marks):
        return False
    return all(len(part.encode()) <= LONGEST_NAME_BYTES for part in posix.parts)
