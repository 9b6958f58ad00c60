"""The server's folder for recordings, locked while it lives: so the next server knows what a killed one left."""

import os
import re
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from birdcache.errors import CommandError
from birdcache.files import lock

PREFIX = "birdcache-serve-"
NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")  # as tempfile makes them


def own_folder(stack: ExitStack) -> Path:
    """A new folder for temporary files, which goes when the stack is closed; those of dead servers are removed, too."""
    try:
        if os.name == "nt":  # which knows no such locks
            return Path(tempfile.mkdtemp(prefix=PREFIX))
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError), ExitStack() as other:
                if NAME.fullmatch(left.name) and left.lstat().st_uid == os.getuid() and _is_locked(left, other):
                    shutil.rmtree(left, ignore_errors=True)
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            with suppress(FileNotFoundError):  # another server may find it before it is locked, and remove it
                if _is_locked(folder, stack) and folder.exists():
                    return folder
    except OSError as error:
        raise CommandError(
            f"{error.filename or 'TMPDIR'}: no temporary folder can be made there ({error.strerror}); set TMPDIR to a "
            "folder on a disk with space"
        ) from error


def _is_locked(folder: Path, stack: ExitStack) -> bool:
    """Lock a folder, no link to one, until the stack is closed; False if another process holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    stack.callback(os.close, handle)
    return lock(handle)
