"""Places of files: local paths, or URLs such as s3://bucket/folder, with the same methods on both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from birdcache.errors import BirdcacheError, StoreError

if TYPE_CHECKING:
    from upath import UPath  # with fsspec and asyncio, a third of a decoder's start

AnyPath: TypeAlias = Union[Path, "UPath"]


def place(text: str) -> AnyPath:
    """A local path, or a remote place if the text is a URL (`<protocol>://...`); errors as in `remote`."""
    return remote(text) if "://" in text else Path(text)


def remote(url: str) -> UPath:
    """A URL as a path that fsspec opens; a StoreError if nothing that is installed opens such URLs."""
    from upath import UPath

    try:
        where = UPath(url)
        where.fs  # noqa: B018  (imports what the protocol needs)
    except (ImportError, ValueError) as error:
        raise StoreError(f'{url}: cannot be opened ({error}); for s3://, pip install "birdcache[s3]"') from error
    return where


@contextmanager
def reaching(where: AnyPath) -> Iterator[None]:
    """Turn errors on the way to a remote place into a StoreError; those of a local disk stay as they are.

    A StoreError if the service does not answer or refuses. A FileNotFoundError as it came: the service has answered,
    and there is no such file or bucket.
    """
    try:
        yield
    except (BirdcacheError, FileNotFoundError):
        raise
    except Exception as error:  # each service has its own, not only OSErrors
        if isinstance(where, Path):
            raise
        raise StoreError(
            f"{where}: cannot be reached ({type(error).__name__}: {error}); correct the URL, or set credentials and "
            f"endpoint for every process that reads it (for s3://: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            f"AWS_ENDPOINT_URL)"
        ) from error


def read_range(where: AnyPath, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a file."""
    if isinstance(where, Path):
        with where.open("rb") as file:
            file.seek(start)
            return file.read(end - start)
    with reaching(where):
        content: bytes = where.fs.cat_file(where.path, start=start, end=end)
    return content


def absolute(text: str, base: str) -> AnyPath:
    """A place as seen from the folder `base`, such as by a cluster's worker that runs elsewhere; a URL as it is."""
    where = place(text)
    return Path(base) / where if isinstance(where, Path) else where
