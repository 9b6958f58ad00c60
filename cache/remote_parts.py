"""Places of the parts of a store whose pool is remote: they stay there, and the store names them.

The file is no part of what the manifest vouches for: size and SHA-256 of each part are the same wherever it lies.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from upath import UPath

from birdcache.files import canonical_json, write_durably
from birdcache.storage import AnyPath, reaching, remote
from cache.corruption import Corruption

NAME = "elsewhere.json"


def write_places(store: Path, places: Mapping[str, AnyPath]) -> None:
    """Note the folders of a store's remote parts; without any, there is no file."""
    if places:
        write_durably(store / NAME, canonical_json({name: str(where) for name, where in places.items()}) + b"\n")


def part_places(store: Path) -> dict[str, UPath]:
    """The folder of each part that does not lie in the store.

    A StoreError if the note is damaged, or nothing that is installed opens such URLs.
    """
    path = store / NAME
    try:
        return {name: remote(where) for name, where in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError):
        raise Corruption(path, "is damaged, so nobody knows where the parts lie").error() from None


def remote_sizes(places: Mapping[str, UPath]) -> dict[str, int]:
    """Size of each file below the folders' common parents, by path; one listing each instead of a request a file.

    A StoreError if a service cannot be reached; a bucket that is gone has no files.
    """
    sizes: dict[str, int] = {}
    for parent in {str(where.parent): where.parent for where in places.values()}.values():
        files: Any = parent.fs
        with reaching(parent), suppress(FileNotFoundError):
            files.invalidate_cache()
            sizes |= {path: int(entry["size"]) for path, entry in files.find(parent.path, detail=True).items()}
    return sizes
