"""Pools that several people share: what is written into one gets the mode of its root; some may only be read.

A folder for a group is made once: `mkdir POOL && chgrp GROUP POOL && chmod 2775 POOL`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from birdcache.storage import AnyPath

OTHERS = 0o077  # the mode's bits for the group and for all


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
