"""`birdcache cache gc`: what the pool of finished spectrograms holds, and freeing what no store needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence

from birdcache.audio.read import DECODER_VERSION
from birdcache.params import load as parameters
from birdcache.params.views import MelView, PcenView
from birdcache.storage import AnyPath, is_local, reaching
from cache.gc import PoolEntry, PoolUsage, free, pool_usage
from cache.keys import view_digest
from cache.locks import alone
from cache.pool import DIGEST_DIGITS
from cache.usage import Note
from pipeline.build.frontend import FRONTEND_VERSION
from pipeline.spectrograms import CACHE, pool_root


def run(arguments: argparse.Namespace) -> None:
    """Print what is kept and what would be freed; then free it, after a yes.

    Raises
    ------
    StoreError
        If a build is writing to the pool, it cannot be reached, or a note in it is damaged.
    """
    params = parameters.load()
    root = pool_root(params.machine.pool)
    if is_local(root) and not root.is_dir():
        print(f"{root}: there is no pool yet, so there is nothing to free")
        return
    stock = read_stock(root)
    print("\n".join([f"pool {root}", "", *table(stock, view_names(params.views)), *remarks(root, stock.notes)]))
    if not stock.garbage:
        print("there is nothing to free")
    elif arguments.yes or agreed(total(stock.garbage)):
        freed = free_what_was_shown(root, stock)
        print(f"freed {total(freed)}")


def read_stock(root: AnyPath) -> PoolUsage:
    """What the pool holds, while no build changes it; the stores of this project count wherever they were noted."""
    with alone(root), reaching(root):
        return pool_usage(root, CACHE.glob("*.zarr"))


def free_what_was_shown(root: AnyPath, shown: PoolUsage) -> list[PoolEntry]:
    """Free what was garbage then and still is: a build may have run while the question waited."""
    folders = {entry.folder for entry in shown.garbage}
    with alone(root), reaching(root):
        now = pool_usage(root, CACHE.glob("*.zarr"))
        garbage = [entry for entry in now.garbage if entry.folder in folders]
        free(garbage, now.notes)
    return garbage


def agreed(what: str) -> bool:
    """Ask on a terminal; elsewhere nobody can answer."""
    if not sys.stdin.isatty():
        print(f"nothing was freed: there is no terminal to ask on; `birdcache cache gc --yes` frees {what}")
        return False
    try:
        answer = input(f"free {what}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("nothing was freed")
    return False


def total(entries: Sequence[PoolEntry]) -> str:
    """How much some holdings are, in words."""
    return f"{sum(entry.bytes for entry in entries) / 1e9:,.3f} GB in {len(entries):,} parts"


def view_names(views: Mapping[str, MelView | PcenView]) -> dict[str, str]:
    """Names of the views of params.yaml by the folder of their parts in a pool."""
    names: dict[str, list[str]] = {}
    for name, view in views.items():
        names.setdefault(view_digest(view, FRONTEND_VERSION, DECODER_VERSION)[:DIGEST_DIGITS], []).append(name)
    return {digest: ", ".join(each) for digest, each in names.items()}


def table(stock: PoolUsage, names: Mapping[str, str]) -> list[str]:
    """Lines: per view of params.yaml, then per other view, then leftovers and the total, what is kept and what not."""
    groups: dict[str, list[PoolEntry]] = {name: [] for name in names.values()}
    for entry in stock.entries:
        if entry.is_finished:
            groups.setdefault(names.get(entry.view, entry.view), []).append(entry)
    unfinished = [entry for entry in stock.entries if not entry.is_finished]
    rows = [*groups.items(), ("unfinished", unfinished), ("total", stock.entries)]
    width = max(len(name) for name, _ in rows)
    heading = f"{'parts':>9}{'recordings':>12}{'GB':>12}"
    lines = [f"{'':<{width}}{'kept':>33}{'to free':>33}", f"{'view':<{width}}{heading}{heading}"]
    return [*lines, *(_line(f"{name:<{width}}", entries) for name, entries in rows)]


def _line(name: str, entries: Sequence[PoolEntry]) -> str:
    cells = [name]
    for is_needed in (True, False):
        chosen = [entry for entry in entries if entry.is_needed == is_needed]
        gigabytes = sum(entry.bytes for entry in chosen) / 1e9
        recordings = sum(entry.recordings for entry in chosen if entry.is_finished)
        cells.append(f"{len(chosen):>9,}{recordings:>12,}{gigabytes:>12,.3f}")
    return "".join(cells)


def remarks(root: AnyPath, notes: Sequence[Note]) -> Iterator[str]:
    """What the table cannot know: stores that were gone, are unfinished, or are another machine's."""
    yield ""
    for note in notes:
        if note.is_void:
            yield f"gone: {note.store}"
        elif note.is_foreign:
            yield f"kept for {note.store} on {note.host}: only that machine can tell; if it is gone, remove {note.file}"
        elif not note.is_finished:
            yield f"kept for {note.store}, whose build was not finished: `dvc repro` there, or remove {note.file}"
    if not is_local(root):
        yield "a remote pool has no lock: be sure that no build is writing to it"
