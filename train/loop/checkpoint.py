"""Checkpoints of one training on disk: whole or not there at all, every byte verified when read.

Each is a folder `000017/` of .safetensors files and `checkpoint.json`, which holds all that is not a tensor, the
SHA-256 of each file, and its own. No pickle, so reading one runs no code. A draft is written beside them, forced to the
disk, read back, compared, and only then renamed; so a killed process leaves earlier checkpoints as they were.

A fingerprint holds a digest of each thing that decides a training, so that no other training is ever resumed from it.
"""

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pydantic import BaseModel

from birdcache.errors import TrainError
from birdcache.files import canonical_json, checksummed_json, file_sha256, fsync_path, lock, sha256_hex, verified_json
from birdcache.source import read_file

ROOT = Path(__file__).parents[2]
CODE = ("birdcache/params", "cache", "train")  # folders whose code changes numbers
RECORD, STATE = "checkpoint.json", "state.safetensors"
LOCK = "lock"
VERSION = 1


def digest(value: Any) -> str:
    """SHA-256 of a pydantic model, a dataclass of arrays and names, or anything that JSON has."""
    if isinstance(value, BaseModel):
        return sha256_hex(canonical_json(value.model_dump(mode="json")))
    if isinstance(value, np.ndarray):
        return sha256_hex(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    if hasattr(value, "__dataclass_fields__"):
        return sha256_hex(canonical_json({each.name: digest(getattr(value, each.name)) for each in fields(value)}))
    return sha256_hex(canonical_json(value))


def environment() -> dict[str, str]:
    """The code that this process has loaded, digested as stage `code` does, and the libraries that compute."""
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    ours = [path for path in map(Path, filter(None, loaded)) if any(path.is_relative_to(ROOT / name) for name in CODE)]
    files = sorted(path.relative_to(ROOT).as_posix() for path in ours)
    code = {name: read_file(name, (ROOT / name).read_bytes()).digest for name in files}
    return {"code": digest(code), "torch": torch.__version__.split("+")[0], "timm": timm.__version__}


def key_of(training: dict[str, str]) -> str:
    """A short name for a training."""
    return digest(training)[:16]


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps."""

    facts: dict[str, Any]  # as JSON has them
    files: dict[str, bytes]


class CorruptedError(TrainError):
    """A checkpoint is not what was written."""


class CheckpointFolder:
    """The checkpoints of one training, of which the newest `keep` stay.

    Parameters
    ----------
    training : digest of each thing that decides what the training does; a checkpoint of another training is refused.
    """

    def __init__(self, path: Path, keep: int, training: dict[str, str]) -> None:
        self.path, self._keep, self._training = path, keep, training

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock out other processes, and remove unfinished files of a killed one.

        A TrainError if another process trains with these checkpoints, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / LOCK).open("a+")
        except OSError as error:
            raise TrainError(
                f"{self.path}: cannot be written ({error}); set machine.checkpoints or BIRDCACHE_CHECKPOINTS to a "
                "writable folder"
            ) from None
        with file:
            if not lock(file):
                file.seek(0)
                raise TrainError(
                    f"{self.path}: process {file.read()} is already running this training; wait for it, or stop it"
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            for draft in self.path.glob("tmp-*"):
                shutil.rmtree(draft, ignore_errors=True)
            yield

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then remove the oldest ones.

        An OSError if it cannot be written, or reads back as other bytes; earlier checkpoints are kept.
        """
        name = f"{max(self._numbers(), default=0) + 1:06d}"
        sha256 = {file: sha256_hex(content) for file, content in checkpoint.files.items()}
        record = {"version": VERSION, "training": self._training, "sha256": sha256, "facts": checkpoint.facts}
        files = {**checkpoint.files, RECORD: checksummed_json(record)}
        draft = self.path / f"tmp-{uuid.uuid4().hex}"
        try:
            draft.mkdir(parents=True)
            for file, content in files.items():
                _write(draft / file, content)
            for file, expected in {**sha256, RECORD: sha256_hex(files[RECORD])}.items():
                if file_sha256(draft / file) != expected:
                    raise OSError(f"{draft / file}: the disk returned other bytes than were written")
            fsync_path(draft)
            draft.rename(self.path / name)
            fsync_path(self.path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        for number in self._numbers()[: -self._keep]:
            shutil.rmtree(self.path / f"{number:06d}", ignore_errors=True)
        return self.path / name

    def newest(self) -> tuple[Path, Checkpoint] | None:
        """The newest intact checkpoint. Corrupted ones are named, and renamed to `damaged-...`.

        A TrainError if it is of another training, or of another version of the project.
        """
        for number in reversed(self._numbers()):
            folder = self.path / f"{number:06d}"
            try:
                return folder, self._read(folder)
            except CorruptedError as error:
                aside = self.path / f"damaged-{folder.name}"
                print(f"warning: {error}; renamed to {aside.name}; trying an earlier checkpoint", file=sys.stderr)
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
        return None

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self.path.glob("[0-9]*") if path.name.isdigit())

    def _read(self, folder: Path) -> Checkpoint:
        record = read_record(folder)
        if record["training"] != self._training:
            differing = ", ".join(self.differences(record))
            raise TrainError(f"{folder}: belongs to another training, with other {differing}; move it away")
        return Checkpoint(
            record["facts"], {file: _intact(folder / file, sha) for file, sha in record["sha256"].items()}
        )

    def differences(self, record: dict[str, Any]) -> list[str]:
        """Things in which the training of a checkpoint's record differs from this one."""
        other = record["training"]
        return sorted(key for key in {*other, *self._training} if other.get(key) != self._training.get(key))


def read_record(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's `checkpoint.json`.

    A CorruptedError if it is not as it was written. A TrainError if it is of another version of the project.
    """
    path = folder / RECORD
    try:
        record = verified_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptedError(f"{path}: is corrupted ({error})") from None
    if record["version"] != VERSION:
        raise TrainError(f"{path}: has version {record['version']}, not {VERSION}; move {folder.parent} away")
    return record


def forget_checkpoints(root: Path, place: Path) -> None:
    """Remove the checkpoints of the training in `root / place`, and folders below `root` that are then empty."""
    shutil.rmtree(root / place, ignore_errors=True)
    for parent in list(place.parents)[:-1]:
        with suppress(OSError):  # others are in it
            (root / parent).rmdir()


def _intact(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorruptedError(f"{path}: cannot be read ({error})") from None
    if sha256_hex(content) != sha256:
        raise CorruptedError(f"{path}: does not match the checksum in {RECORD}")
    return content


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # so that the comparison reads the disk, not the page cache
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
