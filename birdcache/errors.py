"""All exceptions of the project, and their report on the terminal."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import NoReturn

from birdcache.process import exit_with_dvc

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG}  # Windows knows no quota
FAILING = {errno.EROFS, errno.EIO}


class BirdcacheError(Exception):
    """A problem that the user can solve: the message names the thing, the rule that it broke, and the way out."""


class StoreError(BirdcacheError):
    """A store, a part or the pool is missing, corrupted, or not what was asked for."""


class PipelineError(BirdcacheError):
    """A data set, an audio file or a table is unusable."""


class TrainError(BirdcacheError):
    """A model cannot be built, trained or used as asked."""


class CommandError(BirdcacheError):
    """A command was asked for something that cannot be done."""


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`, which ends when DVC does; problems are reported as in `report_problems`."""
    exit_with_dvc()
    report_problems(main)


def report_problems(main: Callable[[], None]) -> None:
    """Run `main`; print a problem of the user's or of the disk on standard error, without a traceback.

    Raises
    ------
    SystemExit
        With status 1, after the message was printed.
    """
    try:
        main()
    except BirdcacheError as error:
        _end(str(error), error)
    except OSError as error:
        if error.errno not in FULL | FAILING:
            raise
        where = error.filename or "a file of this run"
        _end(f"{where}: {_disk_trouble(error)}, then run the same command again", error)


def _disk_trouble(error: OSError) -> str:
    if error.errno in FULL:
        return f"no space left on the disk ({error.strerror}); free some"
    return f"the disk cannot be written ({error.strerror}); repair it or use another one"


def _end(message: str, error: Exception) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1) from error
