"""Frames copied out of a compressed or remote store, through a cache of chunks in memory.

Chunks are read when a batch wants them, several at once, and the least recently used make room for others. Recordings
are drawn from the whole store in random order, so a whole part is worth fetching only where it can stay: a remote store
that fits into the budget arrives part by part (one request for tens of MB), of a larger one only the wanted ranges do.
"""

import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cache.gather import Slices
from cache.part import SHARD
from cache.quantize import QuantizedArray
from cache.shard import CHUNK_FRAMES, chunks_of
from cache.store import Store

REMOTE_THREADS = 16  # requests in flight: each waits for the network, none needs a core


def reading_threads(store: Store) -> int:
    """Number of threads to read a store's chunks with: one a core, or more where they wait for the network."""
    return REMOTE_THREADS if store.is_remote else len(os.sched_getaffinity(0))


class StreamReader:
    """Copies runs of frames out of chunks that were read, compared with their checksums and unpacked.

    Any thread may ask; batches are served one after another, and the chunks of one are read side by side.
    """

    def __init__(self, store: Store, budget_bytes: int) -> None:
        """A reader with an empty cache.

        Parameters
        ----------
        budget_bytes : of memory for unpacked chunks; room for one there is always. Each thread that reads holds one
            chunk more, packed and unpacked.
        """
        parts, layout = store.manifest.parts, store.layout
        self._store = store
        self._readers = [store.reader(number) for number in range(len(parts))]
        self._first_chunk = np.cumsum([0, *(chunks_of(part.frames) for part in parts)])
        chunks = int(self._first_chunk[-1])
        room = max(1, min(chunks, budget_bytes // layout.chunk_bytes))
        self._slots: OrderedDict[int, int] = OrderedDict()  # of the chunks in memory, least recently used first
        self._free = list(range(room))
        # one block for all: chunks that come and go one by one would leave gaps, and take up to twice the budget
        self._memory = store.empty(room * CHUNK_FRAMES).reshape(room, CHUNK_FRAMES, layout.mel_bins)
        self._lock = threading.Lock()
        threads = reading_threads(store)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="read")
        largest_bytes = max((part.files[SHARD.as_posix()].bytes for part in parts), default=0)
        fits = room == chunks and self._memory.nbytes + threads * largest_bytes <= budget_bytes
        self._takes_whole_parts = store.is_remote and fits

    def copy(self, slices: Slices, out: QuantizedArray) -> None:
        """As `cache.gather.MappedReader.copy`; a StoreError also if a chunk cannot be read."""
        chunk_R = self._first_chunk[slices.part] + slices.chunk
        order_R = np.argsort(chunk_R, kind="stable")
        wanted, begin = np.unique(chunk_R[order_R], return_index=True)
        begin, room = np.append(begin, len(order_R)), len(self._memory)
        with self._lock:
            for first in range(0, len(wanted), room):
                last = min(first + room, len(wanted))
                self._hold(wanted[first:last].tolist())
                chosen = order_R[begin[first] : begin[last]]
                columns = (column[chosen].tolist() for column in (chunk_R, slices.row, slices.count, slices.place))
                for chunk, row, count, place in zip(*columns, strict=True):
                    out[place : place + count] = self._memory[self._slots[chunk], row : row + count]

    def _hold(self, chunks: list[int]) -> None:
        """See that these chunks lie in memory; they are no more than there is room for."""
        for chunk in self._slots.keys() & chunks:
            self._slots.move_to_end(chunk)
        missing = [chunk for chunk in chunks if chunk not in self._slots]
        groups = [[chunk] for chunk in missing]
        if self._takes_whole_parts:  # all chunks of the parts that these belong to, part by part
            parts = sorted({self._part_of(chunk) for chunk in missing})
            groups = [list(range(self._first_chunk[part], self._first_chunk[part + 1])) for part in parts]
        while len(self._free) < sum(map(len, groups)):
            self._free.append(self._slots.popitem(last=False)[1])
        slots = [[self._free.pop() for _ in group] for group in groups]
        tasks = [self._threads.submit(self._read, *each) for each in zip(groups, slots, strict=True)]
        for group, filled, task in zip(groups, slots, tasks, strict=True):
            if task.exception() is None:  # waits: all have ended before a failed one's slots are used again
                self._slots.update(zip(group, filled, strict=True))
            else:
                self._free += filled
        for task in tasks:
            task.result()

    def _read(self, chunks: list[int], slots: list[int]) -> None:
        """Read chunks of one part into their slots: one by its range, many out of the whole file."""
        part = self._part_of(chunks[0])
        reader = self._readers[part]
        if self._takes_whole_parts:
            reader = self._store.reader(part)  # a reader that is let go again, and the file with it
            reader.fetch()
        for chunk, slot in zip(chunks, slots, strict=True):
            self._memory[slot] = reader.read_chunk(chunk - int(self._first_chunk[part]))

    def _part_of(self, chunk: int) -> int:
        return int(np.searchsorted(self._first_chunk, chunk, side="right")) - 1
