"""`birdcache verify`: corrupted files in stores, the recordings they concern, and the repair."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from birdcache.audio.read import DECODER_VERSION
from birdcache.errors import CommandError, StoreError
from birdcache.params import load as parameters
from birdcache.params.views import ViewParams, describes
from birdcache.text import counted
from cache import tables
from cache.corruption import Corruption, repair
from cache.verify import Contents, find_corruption
from pipeline.builder.encode import digest_of
from pipeline.builder.frontend import FRONTEND_VERSION
from pipeline.spectrograms import CACHE, read_sources
from train.paths import store_path


def run(arguments: argparse.Namespace) -> None:
    """Check all requested stores, print what is found, then fail by a CommandError if any is not intact."""
    stores = chosen_stores(arguments.store)
    listed = [table for table in (tables.AUDIO, tables.SOUNDSCAPES) if table.path.is_file()]
    files = {source.sha256: source.path for table in listed for source in read_sources(table)}
    bad = [store for store, view in stores.items() if not _is_intact(store, view, arguments.full, files)]
    if bad:
        raise CommandError(f"{len(bad)} of {len(stores)} stores are not intact; the lines above say how to repair them")


def chosen_stores(wanted: str | None) -> dict[Path, ViewParams | None]:
    """Stores to check and their expected views: all stores, the two of one view, or the one at a path.

    A CommandError if `wanted` is neither a view of params.yaml nor a folder.
    """
    if wanted is not None and Path(wanted).is_dir():
        return {Path(wanted): None}
    views = parameters.load().views
    if wanted is None:
        stray = [path for path in sorted(CACHE.glob("*.zarr")) if path not in _stores_of(views)]
        return _stores_of(views) | dict.fromkeys(stray)
    if wanted in views:
        return _stores_of({wanted: views[wanted]})
    raise CommandError(f"{wanted}: no such folder, and no such view in params.yaml; its views: {', '.join(views)}")


def _stores_of(views: Mapping[str, ViewParams]) -> dict[Path, ViewParams | None]:
    return {store_path(name, soundscapes): view for name, view in views.items() for soundscapes in (False, True)}


def _is_intact(store: Path, view: ViewParams | None, full: bool, files: Mapping[str, str]) -> bool:
    """Print the findings in one store."""
    try:
        contents = Contents(store)
        _check_view(contents, view)
        corruptions = list(find_corruption(contents, full))
    except StoreError as error:
        print(error)
        return False
    for corruption in corruptions:
        print("\n".join(_lines(corruption, files)))
    if not corruptions:
        print(f"{store}: {_amount(contents)}, every byte as written (by {'SHA-256' if full else 'CRC-32C'})")
    return not corruptions


def _check_view(contents: Contents, view: ViewParams | None) -> None:
    """Refuse a store that this code would not build from params.yaml."""
    if view is None:
        return
    built = contents.manifest
    if not describes(view, built.view):
        raise StoreError(f"{contents.path}: was built for another view than params.yaml describes now; run `dvc repro`")
    if built.view_digest != digest_of(built.view):
        raise StoreError(
            f"{contents.path}: was built by another front end or decoder than this one (front end {FRONTEND_VERSION}, "
            f"{DECODER_VERSION}); run `dvc repro`, or install the libraries that built it"
        )


def _lines(corruption: Corruption, files: Mapping[str, str]) -> Iterator[str]:
    """Lines: the corrupted file, the recordings in it, the repair."""
    yield f"{corruption.file}: {corruption.what}"
    for sha256 in corruption.audio:
        yield f"    {files.get(sha256, f'the recording whose audio has SHA-256 {sha256}')}"
    yield f"    -> {repair(corruption)}"


def _amount(contents: Contents) -> str:
    manifest = contents.manifest
    entries = [*manifest.files.values(), *(entry for part in manifest.parts for entry in part.files.values())]
    megabytes = sum(entry.bytes for entry in entries) / 1e6
    return f"{counted(manifest.recordings, 'recordings')}, {megabytes:,.1f} MB in {len(entries):,} files"
