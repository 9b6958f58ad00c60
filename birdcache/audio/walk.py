"""The files below a folder, and the reasons why some cannot be opened; nothing is opened to find out."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from birdcache.audio.paths import LINKS_HINT, Bounds, kind_of
from birdcache.storage import AnyPath, reaching

SYSTEMS_OWN = {"__macosx", "$recycle.bin", "#recycle", "@eadir", "lost+found", "system volume information"}
NOT_HASHED = {".git", ".hg", ".dvc"}  # by DVC
PERMISSIONS_HINT = "restore its permissions (chmod u+rX), or move it away"
GONE_HINT = "fetch what it points to (such as `git annex get`), or remove the link"


@dataclass(frozen=True)
class Entry:
    """A file, or a folder that cannot be looked into: `why` not to open it, "" for a plain file, and the way out."""

    path: AnyPath
    why: str = ""
    hint: str = ""
    is_folder: bool = False


def is_systems_own(name: str) -> bool:
    """True for names that begin with a dot, such as macOS's ._robin.ogg, and for folders of waste: never recordings."""
    return name.startswith(".") or name.casefold() in SYSTEMS_OWN


def files_below(folder: AnyPath, bounds: Bounds) -> Iterator[Entry]:
    """Each file that people call one, in order of path; a folder behind a link too, if the link may be followed."""
    if isinstance(folder, Path):
        yield from walk(folder, bounds)
        return
    with reaching(folder):
        found = folder.fs.find(folder.path)
    start = len(folder.path.rstrip("/")) + 1
    for name in sorted((path[start:] for path in found), key=lambda name: name.split("/")):
        if name and not any(map(is_systems_own, name.split("/"))):
            yield Entry(folder / name)


def walk(
    folder: Path, bounds: Bounds, everything: bool = False, above: tuple[os.stat_result, ...] = ()
) -> Iterator[Entry]:
    """Walk through a local folder as `files_below`, or as DVC does: through `everything`, but no link to a folder.

    Parameters
    ----------
    above : the folders around it: a link back to one of them leads to what is listed already.
    """
    try:
        here = folder.stat()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Entry(folder, f"cannot be read ({error.strerror})", PERMISSIONS_HINT, is_folder=True)
        return
    if any(os.path.samestat(here, each) for each in above):
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name in NOT_HASHED if everything else is_systems_own(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(path, bounds, everything, (*above, here))
        elif not entry.is_symlink():
            yield _plain(path, entry.stat(follow_symlinks=False).st_mode)
        elif not (led := _linked(path, bounds)).is_folder or (led.why and not everything):
            yield led
        elif not everything:
            yield from walk(path, bounds, everything, (*above, here))


def _plain(path: Path, mode: int) -> Entry:
    if kind := kind_of(mode):
        return Entry(path, f"is {kind}, not a file", "remove it, or move it away")
    if not os.access(path, os.R_OK):
        return Entry(path, "cannot be read (Permission denied)", PERMISSIONS_HINT)
    return Entry(path)


def _linked(path: Path, bounds: Bounds) -> Entry:
    """What a link leads to."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Entry(path, f"is a link to {path.readlink()}, which is not there", GONE_HINT)
    except OSError as error:
        return Entry(path, f"is a link that leads nowhere ({error.strerror})", GONE_HINT)
    is_folder = stat.S_ISDIR(mode)
    if why := bounds.why_outside(path):
        return Entry(path, why, LINKS_HINT, is_folder)
    return Entry(path, is_folder=True) if is_folder else _plain(path, mode)
