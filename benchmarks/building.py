"""The cost of building stores: one worker and two, an increment and a full build, bytes and memory of each layout."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from benchmarks import songs
from benchmarks.timing import SHIPPED, best, interleaved
from birdcache.params import load as params
from birdcache.params.sections import MachineParams
from birdcache.params.views import MelView, PcenView
from cache.store import Store
from cache.store_writer import commit_store
from cache.tables import AUDIO
from pipeline.builder.build import Builder
from pipeline.builder.plan import Source
from pipeline.spectrograms import read_sources

RATE_HZ, CLIP_S, CLIPS = 32000, 30, 600  # five hours
OTHER_RATE_HZ, SNIPPET_S, SNIPPETS = 44100, 5, 400  # as ESC-10
ADDED = CLIPS // 100
LONG_S, SHORT_S = 7200, 120
LAYOUTS = list(itertools.product(("float16", "uint8"), ("none", "lz4", "zstd")))
ROUNDS = 3
SAMPLE_H = 0.5  # hours of audio for the sizes of the layouts


def measure(folder: Path, view: MelView | PcenView) -> dict[str, float]:
    """All numbers of this module, by name."""
    sources = songs.write_many(folder / "songs", CLIPS, CLIP_S, RATE_HZ)
    snippets = songs.write_many(folder / "snippets", SNIPPETS, SNIPPET_S, OTHER_RATE_HZ)
    numbers = workers_and_increment(folder, sources, view)
    numbers["build_vs_decode"], _ = beside_decoding(folder, sources, view, songs.decode)
    short, behind_s = beside_decoding(folder, snippets, view, songs.decode_and_resample)
    numbers |= {"short_vs_decode": short, "short_ms_a_file_beyond_decode": behind_s / SNIPPETS * 1000}
    numbers |= {f"mb_per_h_{dtype}_{packing}": mb for (dtype, packing), mb in sizes(folder, sources, view).items()}
    peaks = {
        name: peak_mb(songs.write_song(folder / f"{name}.wav", seconds, RATE_HZ))
        for name, seconds in (("short", SHORT_S), ("two_hours", LONG_S))
    }
    return numbers | {f"peak_mb_{name}": peak for name, peak in peaks.items()}


def workers_and_increment(folder: Path, sources: Sequence[Source], view: MelView | PcenView) -> dict[str, float]:
    """Speed-up by workers and cost of an increment; the best of three rounds each."""
    seconds_of(folder, sources[:32], view, 2)  # starts the worker processes
    runs = [one_round(folder, sources, view) for _ in range(ROUNDS)]
    one, two, parent, increment, again = (min(column) for column in zip(*runs, strict=True))
    return {
        "full_build_s": one,
        "build_x_realtime": CLIPS * CLIP_S / one,
        "two_workers_vs_one": one / two,
        "parent_cpu_share": parent / two,
        "increment_1pct_vs_full": increment / one,
        "nothing_new_vs_full": again / one,
    }


def beside_decoding(
    folder: Path, sources: Sequence[Source], view: MelView | PcenView, decode: Callable[[Path], object]
) -> tuple[float, float]:
    """Speed of a whole build by one worker relative to decoding alone, and the seconds between, best round each."""
    paths = [Path(source.path) for source in sources]

    def build_anew() -> None:
        shutil.rmtree(folder / "pool")
        build(folder, sources, view, 1)

    arms = {"decode": lambda: [decode(path) for path in paths], "build": build_anew}
    seconds = {name: best(each) for name, each in interleaved(arms, ROUNDS).items()}
    return seconds["decode"] / seconds["build"], seconds["build"] - seconds["decode"]


def one_round(folder: Path, sources: Sequence[Source], view: MelView | PcenView) -> tuple[float, ...]:
    """Seconds of one worker, of two, of the parent's CPU meanwhile, of an increment, and without changes."""
    shutil.rmtree(folder / "pool")
    one, _ = seconds_of(folder, sources, view, 1)
    shutil.rmtree(folder / "pool")
    two, parent = seconds_of(folder, sources, view, 2)
    shutil.rmtree(folder / "pool")
    seconds_of(folder, sources[:-ADDED], view, 2)
    increment, _ = seconds_of(folder, sources, view, 1)
    again, _ = seconds_of(folder, sources, view, 1)
    return one, two, parent, increment, again


def seconds_of(folder: Path, sources: Sequence[Source], view: MelView | PcenView, workers: int) -> tuple[float, float]:
    """Wall-clock seconds, and CPU seconds of this process alone, to build and commit a store."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    build(folder, sources, view, workers)
    return time.perf_counter() - begin, time.process_time() - begin_cpu


def build(folder: Path, sources: Sequence[Source], view: MelView | PcenView, workers: int) -> Store:
    """Build and commit folder/store.zarr with the pool folder/pool, silently."""
    builder = Builder(view, folder / "pool", shipped_machine().model_copy(update={"workers": workers}))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        parts, _ = builder.build(sources, "benchmark")
    commit_store(folder / "store.zarr", view, builder.digest, builder.quantizer, parts)
    return Store(folder / "store.zarr")


@lru_cache
def shipped_machine() -> MachineParams:
    """The shipped section `machine`; a stage reads params.yaml before it builds, so that is no part of a build here."""
    return params.load(SHIPPED).machine


def sizes(folder: Path, sources: Sequence[Source], view: MelView | PcenView) -> dict[tuple[str, str], float]:
    """Megabytes of a store per hour of audio, by dtype and compression: of the project's own audio if there is any."""
    chosen = within(read_sources(AUDIO) if AUDIO.path.exists() else sources, SAMPLE_H)
    found = {}
    for dtype, compression in LAYOUTS:
        store = build(folder, chosen, view.model_copy(update={"dtype": dtype, "compression": compression}), 2)
        stored = sum(entry.bytes for part in store.manifest.parts for entry in part.files.values())
        hours = store.manifest.frames * view.hop / view.sample_rate_hz / 3600
        found[dtype, compression] = stored / 1e6 / hours
    return found


def within(sources: Sequence[Source], hours: float) -> list[Source]:
    """The first sources that together last at most this long, but at least one."""
    ends = itertools.accumulate(source.duration_s for source in sources)
    return [source for source, end in zip(sources, ends, strict=True) if end <= hours * 3600] or list(sources[:1])


def peak_mb(path: Path) -> float:
    """Peak memory of a new process that builds a store of one file."""
    command = [sys.executable, "-m", "benchmarks.building", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    path.unlink()
    return float(done.stdout)


def main() -> None:
    """Build a store of the file on the command line, and print the peak memory in megabytes."""
    path = Path(sys.argv[1])
    view = params.load(SHIPPED).spectrograms["mel"]
    (source,) = songs.listed([path])
    build(path.parent / f"{path.stem}-memory", [source], view, 1)
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent's memory before exec
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1000)


if __name__ == "__main__":
    main()
