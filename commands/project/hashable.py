"""What lies in a data set and DVC cannot hash: it would end there without naming the file, or wait for ever.

DVC hashes `data.root`, and the roots of `data.sources`, before any code of the project runs.
"""

from collections.abc import Iterator
from pathlib import Path

from birdcache.audio.paths import Bounds
from birdcache.audio.walk import Entry, walk
from birdcache.csv_records import NOT_UTF8
from birdcache.errors import CommandError
from birdcache.params.sections import DataParams
from birdcache.storage import place, reaching
from birdcache.text import counted, printable
from pipeline.dataset.sources import roots

TOLD = 20  # files; the others are counted
RENAME_HINT = "rename it; `convmv -r -f latin1 -t utf8 --notest FOLDER` renames all of them"
IGNORE_FILE = ".dvcignore"


def check_hashable(*folders: Path) -> None:
    """Refuse to begin what DVC would not end: a CommandError names files that it cannot hash, each with its way out."""
    found = [
        f"  {printable(str(each.path))}: {each.why}; {each.hint}" for folder in folders for each in unhashable(folder)
    ]
    if found:
        more = [f"  and {len(found) - TOLD} more"] if len(found) > TOLD else []
        title = f"{', '.join(map(str, folders))}: DVC cannot hash {counted(len(found), 'files')}"
        raise CommandError("\n".join([title, *found[:TOLD], *more]))


def check_data(data: DataParams, *more: Path) -> None:
    """Refuse roots that cannot be reached, a StoreError, and files that DVC cannot hash; `more` are further folders."""
    for where in map(place, roots(data).values()):
        with reaching(where):
            where.is_dir()
    check_hashable(*data_folders(data), *more)


def data_folders(data: DataParams) -> list[Path]:
    """The local folders that DVC hashes for the data set."""
    places = [*map(place, roots(data).values()), Path(data.annotations)]
    return [each for each in places if isinstance(each, Path) and each.is_dir()]


def unhashable(folder: Path) -> Iterator[Entry]:
    """Yield the files that DVC cannot hash, and folders that it would pass over in silence."""
    for entry in walk(folder, Bounds(folder, "anywhere"), everything=True):
        if entry.why:
            yield entry
        elif entry.path.name == IGNORE_FILE:
            yield Entry(entry.path, "is read by DVC, which allows none in what it hashes", "move it up to the project")
        elif NOT_UTF8.search(str(entry.path)):
            yield Entry(entry.path, "has a name that is not UTF-8", RENAME_HINT)
