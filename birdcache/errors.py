"""All exceptions of the project, and their report on the terminal."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from birdcache.process import allow_open_files, exit_with_dvc
from birdcache.text import printable

FEWEST_FILES, WANTED_FILES = 256, 1024  # open at once: 4 a worker, and some for stores; 256 is what macOS gives
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}  # Windows knows no quota
DENIED = {errno.EACCES, errno.EPERM}
WAYS_OUT = {
    **dict.fromkeys(FULL, "free some space"),
    errno.EFBIG: "no file may grow this large here: see `ulimit -f` and quotas",
    **dict.fromkeys(DENIED, "have its owner allow it, or use another folder"),
    errno.EROFS: "it is on a disk that is read-only: use another one",
    errno.EIO: "the disk fails: repair it or use another one",
    getattr(errno, "ESTALE", errno.EIO): "the network disk has lost it: mount that again",
    **dict.fromkeys((errno.EEXIST, errno.ENOTEMPTY), "something else is there: move it away"),
    errno.ENOTDIR: "a file is there where a folder has to be: move it away",
    errno.EISDIR: "a folder is there where a file has to be: move it away",
    errno.ENAMETOOLONG: "the disk takes no name this long: shorten it, or names of the folders above",
    errno.ELOOP: "links lead to each other in a circle: remove one",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "more files may have to be open at once: `ulimit -n 4096`"),
}
OF_GPUS = {  # torch's exceptions by name, since this package does not import it
    "OutOfMemoryError": "lower batch_size and raise optimiser.accumulate, or set recompute: true or machine.placement: "
    "host; in predict, lower predict.batch_size",
    "AcceleratorError": "run the same command again; if that does not help, see `birdcache doctor` and `nvidia-smi`, "
    "or set machine.device: cpu",
}
TEXT = "\n\t"  # of messages of several lines; any other control character came out of a file


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
    report_problems(check_open_files)
    report_problems(main)


def check_open_files() -> None:
    """Refuse to begin what would break off in the middle, since too few files may be open: a CommandError."""
    allowed = allow_open_files(WANTED_FILES)
    if allowed < FEWEST_FILES:
        raise CommandError(
            f"only {allowed} files may be open at once here, and many workers need up to {FEWEST_FILES}: run "
            f"`ulimit -n {WANTED_FILES}`, in a new terminal if it is refused, then the same command again"
        )


def report_problems(main: Callable[[], None]) -> None:
    """Run `main`; print a problem of the user's, the disk or a GPU without a traceback, and exit with status 1."""
    try:
        main()
    except BirdcacheError as error:
        _end(str(error), error)
    except OSError as error:
        if error.errno not in WAYS_OUT:
            raise
        _end(f"{error.filename or 'a file of this run'}: {os_trouble(error)}, then run the same command again", error)
    except RuntimeError as error:
        if (way_out := OF_GPUS.get(type(error).__name__)) is None:
            raise
        _end(f"{'. '.join(str(error).splitlines()[0].split('. ')[:2])}; {way_out}", error)


def os_trouble(error: OSError) -> str:
    """The system's word for an error, whose the file is if permission was denied, and the way out."""
    word = error.strerror or str(error)
    if error.errno in DENIED and error.filename:
        word += _owner(Path(os.fsdecode(error.filename)))
    return f"{word}; {WAYS_OUT.get(error.errno or 0, 'see what the system says of it')}"


def _owner(path: Path) -> str:
    """Owner and mode of a file or of the first folder above it that can be looked at; nothing if that is a secret."""
    for each in (path, *path.absolute().parents):
        with suppress(OSError, KeyError, NotImplementedError, AttributeError):
            return f" ({each} belongs to {each.owner()}, mode {each.stat().st_mode & 0o7777:o})"
    return ""


def _end(message: str, error: Exception) -> NoReturn:
    print(f"error: {printable(message, kept=TEXT)}", file=sys.stderr)
    raise SystemExit(1) from error
