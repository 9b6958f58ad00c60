"""Which files processes open: told by Python's audit events, and for folders that nobody may open by the kernel.

The audit hook hears every `open` and listing of a folder by Python code, with its path, in this process and, through
a `sitecustomize.py`, in every Python process that it starts. It does not hear what C libraries open by themselves.
The kernel (inotify) hears any process and any library, of the folders that it watches; it does not say who it was.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "BIRDCACHE_TRIAL_OPENS"
EVENTS = ("open", "os.listdir", "os.scandir")
SITE = "from tests.torture.opens import watch_here\n\nwatch_here()\n"
IN_ACCESS, IN_OPEN = 0x1, 0x20
EVENT = struct.Struct("iIII")


def watch_processes(folder: Path, log: Path) -> None:
    """Note from now on what this process opens, and every Python process that it starts; `folder` is for a file."""
    (folder / "sitecustomize.py").write_text(SITE)
    sys.path.insert(0, str(folder))  # the decoder's process gets this process's sys.path
    os.environ[VARIABLE] = str(log)
    watch_here()


def watch_here() -> None:
    """Note from now on what this process opens, a line of the file that the environment names for each."""
    log = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[0] if event in EVENTS and arguments else None
        if isinstance(path, str | bytes):
            os.write(log, os.path.realpath(os.fsencode(path)) + b"\n")

    sys.addaudithook(heard)


def opened_files(log: Path) -> set[str]:
    """What was noted: real paths, with links followed."""
    return set(os.fsdecode(log.read_bytes()).splitlines()) if log.exists() else set()


@contextmanager
def kernel_watch(folders: list[Path]) -> Iterator[list[str]]:
    """The names of what any process opens or reads in these folders meanwhile, known at the end."""
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    watched = {
        library.inotify_add_watch(handle, os.fsencode(folder), IN_ACCESS | IN_OPEN): folder for folder in folders
    }
    if handle < 0 or -1 in watched:
        raise OSError(ctypes.get_errno(), "the kernel watches no folders here")
    found: list[str] = []
    try:
        yield found
        found += [str(watched[number] / name) for number, name in _events(handle)]
    finally:
        os.close(handle)


def _events(handle: int) -> Iterator[tuple[int, str]]:
    while True:
        try:
            content = os.read(handle, 2**16)
        except BlockingIOError:
            return
        while content:
            number, _, _, length = EVENT.unpack_from(content)
            yield number, os.fsdecode(content[EVENT.size : EVENT.size + length].rstrip(b"\0"))
            content = content[EVENT.size + length :]
