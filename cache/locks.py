"""Locks on writing: one build at a time to a store; to a local pool all builds, or `birdcache cache gc` alone.

A lock ends with the process that holds it, however that ends. A remote pool has none. What is written into a local pool
that several people share gets the mode of its root; some may only be read. A folder for a group is made once:
`mkdir POOL && chgrp GROUP POOL && chmod 2775 POOL`.
"""

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from birdcache.errors import StoreError
from birdcache.files import lock
from birdcache.storage import AnyPath

NAME = "lock"
OTHERS = 0o077  # the mode's bits for the group and for all


@contextmanager
def building(root: AnyPath, when_alone: Callable[[], None]) -> Iterator[None]:
    """Hold a pool's lock while parts are built and linked.

    Parameters
    ----------
    when_alone : called first if nobody else holds the lock, and while nobody else can take it: the moment to remove
        what unfinished builds left.
    """
    if not isinstance(root, Path) or is_read_only(root):
        yield
        return
    root.mkdir(parents=True, exist_ok=True)
    with _open_lock(root) as file:
        if lock(file):
            when_alone()
        lock(file, shared=True, wait=True)
        yield


@contextmanager
def replacing(store: Path, sweep_after: Callable[[int], None]) -> Iterator[None]:
    """Hold a store's lock while it is built and committed: a hidden file beside it, which names its holder.

    A StoreError if another process holds it.

    Parameters
    ----------
    sweep_after : is called first with the process of this machine that held the lock last: it may have been killed.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.with_name(f".{store.name}.lock").open("a+") as file:
        is_ours = lock(file)
        file.seek(0)
        holder = file.read()
        if not is_ours:
            raise StoreError(
                f"{store}: {holder or 'another process'} is building it; wait until it has finished or end it, then "
                f"run the stage again"
            )
        if last := re.fullmatch(rf"process (\d+) on {re.escape(platform.node())}", holder):
            sweep_after(int(last[1]))
        file.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", end="", file=file, flush=True)
        yield


@contextmanager
def alone(root: AnyPath) -> Iterator[None]:
    """Hold a pool's lock against every build: those that begin meanwhile wait; a StoreError if one is running."""
    if not isinstance(root, Path):
        yield
        return
    with _open_lock(root) as file:
        if not lock(file):
            raise StoreError(f"{root}: a build is writing to this pool; try again when it has finished")
        yield


def _open_lock(root: Path) -> IO[str]:
    """Open a pool's lock. Who shares a pool may hold it without being allowed to write into another's file."""
    try:
        with modes_of(root):
            return (root / NAME).open("a")
    except PermissionError:
        return (root / NAME).open()


@contextmanager
def modes_of(root: AnyPath) -> Iterator[None]:
    """Give group and others the same rights on what is made meanwhile as the pool's root gives them.

    Whoever may write into the root can then add to every folder below, and clean it up.
    """
    if not isinstance(root, Path) or not root.is_dir():
        yield
        return
    before = os.umask(OTHERS & ~root.stat().st_mode)
    try:
        yield
    finally:
        os.umask(before)


def is_read_only(root: AnyPath) -> bool:
    """True for a local pool that is there and that this process may not write into."""
    return isinstance(root, Path) and root.is_dir() and not os.access(root, os.W_OK)
