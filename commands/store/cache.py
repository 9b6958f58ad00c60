"""`birdcache cache gc`: list the pool of finished spectrograms and free the parts that no store needs."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from birdcache.errors import PipelineError
from birdcache.params import load as parameters
from birdcache.params.views import ViewParams
from birdcache.storage import AnyPath, reaching
from birdcache.text import counted
from cache.gc import GcRoot, PoolEntry, PoolUsage, free, pool_usage
from cache.locks import alone
from cache.pool import DIGEST_DIGITS
from pipeline.builder.encode import digest_of
from pipeline.builder.teacher import stored_view
from pipeline.spectrograms import CACHE, pool_root


def run(arguments: argparse.Namespace) -> None:
    """Print which parts are kept and which are not needed; free the latter after a confirmation.

    A StoreError if a build is writing to the pool, it cannot be reached, or one of its gc roots is corrupted.
    """
    params = parameters.load()
    root = pool_root(params.machine.pool)
    if isinstance(root, Path) and not root.is_dir():
        print(f"{root}: no such pool; there is nothing to free")
        return
    with alone(root), reaching(root):  # so that no build changes it meanwhile
        usage = pool_usage(root, CACHE.glob("*.zarr"))
    print("\n".join([f"pool {root}", "", *table(usage, view_names(params.views)), *remarks(root, usage.roots)]))
    if not usage.garbage:
        print("there is nothing to free")
    elif arguments.yes or is_confirmed(total(usage.garbage)):
        print(f"freed {total(free_shown(root, usage))}")


def free_shown(root: AnyPath, shown: PoolUsage) -> list[PoolEntry]:
    """Free the garbage that was shown and still is garbage: a build may have run before the answer came."""
    folders = {entry.folder for entry in shown.garbage}
    with alone(root), reaching(root):
        now = pool_usage(root, CACHE.glob("*.zarr"))
        garbage = [entry for entry in now.garbage if entry.folder in folders]
        free(garbage, now.roots)
    return garbage


def is_confirmed(what: str) -> bool:
    """Ask the user for agreement; without a terminal, the answer is no."""
    if not sys.stdin.isatty():
        print(f"nothing was freed: no terminal to ask for confirmation; `birdcache cache gc --yes` frees {what}")
        return False
    answer = ""
    with suppress(EOFError):
        answer = input(f"free {what}? [y/N] ")
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("nothing was freed")
    return False


def total(entries: Sequence[PoolEntry]) -> str:
    """Size and number of some parts, as text."""
    return f"{sum(entry.bytes for entry in entries) / 1e9:,.3f} GB in {counted(len(entries), 'parts')}"


def view_names(views: Mapping[str, ViewParams]) -> dict[str, str]:
    """Names of the views of params.yaml by the folder of their parts in a pool."""
    names: dict[str, list[str]] = {}
    for name, view in views.items():
        with suppress(PipelineError):  # an embedding view whose file nobody has looked at yet has no parts
            digest = digest_of(stored_view(name, view))
            names.setdefault(digest[:DIGEST_DIGITS], []).append(name)
    return {digest: ", ".join(each) for digest, each in names.items()}


def table(usage: PoolUsage, names: Mapping[str, str]) -> list[str]:
    """Table of kept and unneeded parts: views of params.yaml, other views, unfinished parts, total."""
    groups: dict[str, list[PoolEntry]] = {name: [] for name in names.values()}
    for entry in usage.entries:
        if entry.is_finished:
            groups.setdefault(names.get(entry.view, entry.view), []).append(entry)
    unfinished = [entry for entry in usage.entries if not entry.is_finished]
    rows = [*groups.items(), ("unfinished", unfinished), ("total", usage.entries)]
    width = max(len(name) for name, _ in rows)
    heading = f"{'parts':>9}{'GB':>12}"
    lines = [f"{'':<{width}}{'kept':>21}{'to free':>21}", f"{'view':<{width}}{heading}{heading}"]
    return [*lines, *(_line(f"{name:<{width}}", entries) for name, entries in rows)]


def _line(name: str, entries: Sequence[PoolEntry]) -> str:
    both = ([entry for entry in entries if entry.is_needed == is_needed] for is_needed in (True, False))
    return name + "".join(f"{len(each):>9,}{sum(entry.bytes for entry in each) / 1e9:>12,.3f}" for each in both)


def remarks(root: AnyPath, gc_roots: Sequence[GcRoot]) -> Iterator[str]:
    """Remarks on stores that are gone, unfinished, or on another machine."""
    yield ""
    for each in gc_roots:
        if each.is_stale:
            yield f"gone: {each.store}"
        elif each.is_foreign:
            yield f"kept for {each.store}, which only {each.host} can check; if that is gone, remove {each.file}"
        elif not each.is_finished:
            yield f"kept for {each.store}, whose build is unfinished: run `dvc repro` there, or remove {each.file}"
    if not isinstance(root, Path):
        yield "a remote pool has no lock: make sure that no build is writing to it"
