"""The cost of decoding: recordings, hours, bytes and minutes of each store that `dvc repro` may build."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import joblib
from threadpoolctl import threadpool_limits

from birdcache.arrays import spread
from birdcache.audio.listing import left_out_lines
from birdcache.errors import PipelineError
from birdcache.params.embedding import StoredEmbedding
from birdcache.params.model import Params
from birdcache.params.views import MelView, PcenView
from birdcache.storage import AnyPath, place
from birdcache.text import counted
from cache import tables
from cache.mel import packed_view
from cache.remote_pool import open_pool
from cache.report_tables import REFUSED
from cache.shard import Layout
from commands.plan.audio import StoreAudio, expected_audio, listed_audio
from commands.plan.reasons import few
from commands.plan.stages import StagePlan
from pipeline.builder.build import SPARE_BYTES, Builder, free_bytes
from pipeline.builder.encode import quantized_blocks
from pipeline.dataset.metadata import read_metadata
from pipeline.spectrograms import open_builder

STAGE = "spectrograms@"
MEASURED_FILES, MEASURED_S = 3, 20.0  # recordings, and seconds of each, for measuring speed
FILE_S = 0.0018  # a worker's time for a recording beside what is measured (docs/scale.md)


@dataclass(frozen=True)
class StoreCost:
    """The cost of building one store; minutes are NaN if no recording could be decoded for measuring."""

    stage: str
    store: str
    listed: int
    to_decode: int
    hours: float
    gigabytes: float
    minutes: float


@dataclass(frozen=True)
class Rate:
    """Speed of one worker, in seconds of audio per second, and the sample on which it was measured."""

    stage: str
    times_realtime: float
    recordings: int
    seconds: float


@dataclass(frozen=True)
class Decoding:
    """The cost of all stores, and its basis; free_gigabytes is None for a remote pool."""

    stores: tuple[StoreCost, ...]
    rates: tuple[Rate, ...]
    workers: int
    pool: str
    free_gigabytes: float | None
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """True if the pool's disk has enough space for all stores."""
        needed = sum(store.gigabytes for store in self.stores)
        return not needed or self.free_gigabytes is None or needed + SPARE_BYTES / 1e9 <= self.free_gigabytes


def plan_decoding(stages: Sequence[StagePlan], params: Params) -> Decoding:
    """Plan the decoding of all stages `spectrograms@<view>` that run or may run; there are some.

    A PipelineError if a view is impossible, or the data set cannot be read: `dvc repro` would fail in the same way.
    """
    states = {plan.stage: plan.state for plan in stages}
    runs = [name for name, state in states.items() if state in ("runs", "may run")]
    moving = [name.removeprefix(STAGE) for name in runs if name.startswith(STAGE)]
    audio, notes = _audio(states, params)
    notes += _machine_notes(moving, params)
    builders = {name: open_builder(name, params) for name in moving}
    root = builders[moving[0]].root
    machine = params.machine
    is_remote = machine.backend == "dask" and machine.scheduler  # whose processes are not counted
    free, workers = free_bytes(root), machine.workers or (1 if is_remote else int(joblib.cpu_count()))
    costs = [_view_cost(f"{STAGE}{name}", builder, audio, workers) for name, builder in builders.items()]
    return Decoding(
        tuple(store for stores, _ in costs for store in stores),
        tuple(rate for _, rate in costs if rate is not None),
        workers,
        str(root),
        None if free is None else free / 1e9,
        tuple(notes),
    )


def _machine_notes(views: Sequence[str], params: Params) -> Iterator[str]:
    """Notes on what sizes and times do not include."""
    packed = [
        f"views.{each}" for each, view in params.spectrograms.items() if each in views and view.compression != "none"
    ]
    if packed:
        yield f"{', '.join(packed)}: sizes are before compression"
    machine = params.machine
    if machine.backend == "dask" and machine.scheduler and not machine.workers:
        yield f"times are those of one worker; the cluster at {machine.scheduler} shares them"


def _audio(states: Mapping[str, str], params: Params) -> tuple[dict[str, StoreAudio], list[str]]:
    """The audio of the stores, and notes on it."""
    root, demo = params.data.root, f"demo@{params.data.root.removeprefix('data/demo/')}"
    if states.get(demo, "up to date") != "up to date" and demo.removeprefix("demo@") in params.demo:
        return {}, [f"stage {demo} makes {root} first; the cost of decoding is known after it"]
    if states.get("recordings") == "up to date":
        return listed_audio(), _left_out_notes(len(REFUSED.read()), "are listed")
    metadata = read_metadata(params.data)
    expected, told = expected_audio(params.data, metadata), left_out_lines(metadata.left_out)
    return expected, [*_notes(expected), *told, *_left_out_notes(len(metadata.left_out), "will be listed")]


def _left_out_notes(files: int, where: str) -> list[str]:
    return [f"{counted(files, 'files')} not used {where} in {REFUSED.path}"] if files else []


def _notes(expected: Mapping[str, StoreAudio]) -> list[str]:
    """Notes on files that are new or gone since the last run of stage `recordings`, by names and times."""
    found = [line for store, audio in expected.items() for line in _store_notes(store, audio)]
    if not tables.AUDIO.path.exists():
        return ["stage recordings has not run yet; counted from the data set's tables and the files' headers", *found]
    title = "stage recordings runs first; since its last run, judging by names and times of files:"
    return [title, *found] if found else [f"{title} no changes"]


def _store_notes(store: str, audio: StoreAudio) -> Iterator[str]:
    if audio.new:
        yield f"  {counted(len(audio.new), store)} new or changed: {few(audio.new)}"
    if audio.gone:
        yield f"  {counted(len(audio.gone), store)} gone: {few(audio.gone)}"
    if audio.unknown.files:
        basis = f"the headers of {len(audio.unknown.sample)}; those already in the pool will not be decoded"
        yield f"  hours of {counted(audio.unknown.files, store)} are estimated by {basis}"


def _view_cost(
    stage: str, builder: Builder, audio: Mapping[str, StoreAudio], workers: int
) -> tuple[list[StoreCost], Rate | None]:
    jobs = {store: builder.plan(each.sources) for store, each in audio.items()}
    new = [source.path for each in jobs.values() for job in each for source in job.new]
    new += [path for each in audio.values() for path in each.unknown.sample]
    rate = measured_rate(stage, builder, [place(path) for path in spread(new, MEASURED_FILES)])
    finished = {part.keys for part in open_pool(builder.root, builder.digest).parts()}
    frame_bytes = Layout.of(builder.view, builder.quantizer).frame_bytes
    costs = []
    for store, each in audio.items():
        unbuilt = [job for job in jobs[store] if job.keys not in finished]
        files = sum(len(job.new) for job in unbuilt) + each.unknown.files
        duration_s = sum(job.duration_s for job in unbuilt) + each.unknown.duration_s
        size = builder.bytes_of(unbuilt) + frame_bytes * builder.view.frames(each.unknown.duration_s)
        # a part has one worker, so the longest part is a lower limit
        elapsed_s = max(duration_s / workers, *(job.duration_s for job in unbuilt), 0.0)
        files_s = FILE_S * files / workers
        minutes = (elapsed_s / rate.times_realtime + files_s) / 60 if rate else (math.nan if duration_s else 0.0)
        listed = len(each.sources) + each.unknown.files
        costs.append(StoreCost(stage, store, listed, files, duration_s / 3600, size / 1e9, minutes))
    return costs, rate


def measured_rate(stage: str, builder: Builder, files: Sequence[AnyPath]) -> Rate | None:
    """Measure one thread on the starts of some recordings, after a warm-up with the first; None if none decodes."""
    if isinstance(view := builder.view, StoredEmbedding):
        return None
    with threadpool_limits(1):
        for file in files[:1]:
            _decoded_s(view, file)
        start_s = time.perf_counter()
        seconds = [_decoded_s(view, file) for file in files]
        elapsed_s = time.perf_counter() - start_s
    count = sum(each > 0 for each in seconds)
    return Rate(stage, sum(seconds) / elapsed_s, count, sum(seconds)) if count else None


def _decoded_s(view: MelView | PcenView, file: AnyPath) -> float:
    """Seconds of audio decoded and quantised, from the beginning; 0 for a file that cannot be decoded."""
    frames = 0
    try:
        for quantized in quantized_blocks(file, packed_view(view), read_as=""):
            frames += len(quantized)
            if frames >= view.frames(MEASURED_S):
                break
    except PipelineError:
        return 0.0
    return frames * view.hop / view.sample_rate_hz
