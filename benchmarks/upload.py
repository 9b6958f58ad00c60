"""A store read whole, as it goes to a GPU's memory: out of its mapped files, and chunk by chunk through `read`.

Each chunk is compared with its checksum in both ways. Files lie in the page cache, and what is read goes into memory of
1 MB that is used again and again, as a GPU's copies would be made from it.

`upload_gb_per_s`: out of mapped files, as training does, with a thread for each core.
`upload_ratio`: that / through `read`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.stores import write_store
from benchmarks.timing import SHIPPED, best, interleaved, parse_arguments, ratio, report
from birdcache.params import load as params
from cache.store import Store
from cache.stream import reading_threads
from train.data.frames import UPLOAD_FRAMES

MEGABYTES = 600


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder), params.load(SHIPPED).spectrograms["mel"], "none", MEGABYTES)
        seconds = interleaved(
            {"mapped": partial(read_all, store, mapped), "read": partial(read_all, store, by_read)}, arguments.rounds
        )
        gigabytes = store.manifest.frames * store.layout.frame_bytes / 1e9
    numbers = {
        "threads": reading_threads(store),
        "upload_gb_per_s": gigabytes / best(seconds["mapped"]),
        "upload_ratio": ratio(seconds["read"], seconds["mapped"]),
    }
    report(numbers, arguments.json)


def read_all(store: Store, read: Callable[[Store, int], None]) -> None:
    """Read every part of the store, opened anew, so that no chunk has been compared before."""
    opened = Store(store.path)
    with ThreadPoolExecutor(reading_threads(store)) as threads:
        list(threads.map(partial(read, opened), range(len(store.manifest.parts))))


def mapped(store: Store, part: int) -> None:
    """Copy a part out of its mapped file."""
    memory, frames = store.empty(UPLOAD_FRAMES), store.manifest.parts[part].frames
    for begin in range(0, frames, UPLOAD_FRAMES):
        store.copy_rows(part, begin, memory[: frames - begin])


def by_read(store: Store, part: int) -> None:
    """Copy a part out of its chunks, read one by one."""
    reader, memory, frames = store.reader(part), store.empty(UPLOAD_FRAMES), store.manifest.parts[part].frames
    for begin in range(0, frames, UPLOAD_FRAMES):
        count = min(UPLOAD_FRAMES, frames - begin)
        np.concatenate(list(reader.rows(begin, count)), out=memory[:count])


if __name__ == "__main__":
    main()
