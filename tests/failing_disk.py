"""A disk that refuses: the n-th operation that writes, or everything from it on, as when it is full."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAMES = ("mkdir", "link", "symlink", "fsync", "rename", "replace")
UNLESS_FULL = ("rename", "replace")  # a full disk still renames


class FailingDisk:
    """Counts what is written: files opened, bytes written to them, folders, links, renames, fsyncs."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, stays_full: bool) -> None:
        self.done, self._at, self._stays_full = 0, at, stays_full
        self._open = io.open
        patch.setattr(io, "open", self._open_counted)
        for name in NAMES:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))

    @property
    def has_refused(self) -> bool:
        """Whether so many operations have come to pass."""
        return self.done >= self._at

    def step(self, name: str, *path: str) -> None:
        """One operation; errors of open files name no path."""
        if self._stays_full and name in UNLESS_FULL:
            return
        self.done += 1
        if self.done == self._at or (self._stays_full and self.done > self._at):
            raise OSError(errno.ENOSPC, "No space left on device", *path)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            named = {"fsync": None, "mkdir": 0}.get(name, 1)
            self.step(name, *([] if named is None else [str(arguments[named])]))
            return function(*arguments, **options)

        return call

    def _open_counted(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "b" not in mode or not set(mode) & set("wxa+"):
            return self._open(file, mode, *arguments, **options)
        self.step("open", str(file))
        raw = _CountedFile(file, mode.replace("b", ""), self)
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)


class _CountedFile(io.FileIO):
    def __init__(self, path: Path, mode: str, disk: FailingDisk) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any, /) -> int:
        self._disk.step("write")
        return super().write(data)
