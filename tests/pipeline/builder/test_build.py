"""Building stores: their bytes follow from audio and view alone, and nothing is decoded twice or silently lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from benchmarks.whole import spectrogram
from birdcache.audio import samples
from birdcache.audio.decoder import Decoder
from birdcache.audio.read import DECODER_VERSION, content_sha256
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError, StoreError
from birdcache.params import load as parameters
from birdcache.params.sections import MachineParams
from birdcache.params.views import MelView, PcenParams, PcenView
from cache import keys
from cache.keys import content_key, part_name, view_digest
from cache.mel import packed_view
from cache.quantize import QuantizedArray
from cache.shard import CHUNK_FRAMES
from cache.store import Store
from cache.store_writer import commit_store
from pipeline.builder import build, worker
from pipeline.builder.build import Builder
from pipeline.builder.encode import quantized_blocks
from pipeline.builder.frontend import FRONTEND_VERSION
from pipeline.builder.parallel import Task, run_unordered
from pipeline.builder.plan import PartJob, Source
from pipeline.dataset.scan import scan_file
from tests.fixtures.stores import verify
from tests.fixtures.tiny import RATE_HZ, ROOT, song, write_audio
from tests.fixtures.waveform import read_waveform

Bytes = dict[str, bytes]
MakeStore = Callable[..., tuple[Bytes, list[RejectedAudio]]]
View = MelView | PcenView
PLAIN = {
    "sample_rate_hz": RATE_HZ,
    "n_fft": 512,
    "hop": 256,
    "n_mels": 32,
    "mel_scale": "slaney",
    "fmin_hz": 20.0,
    "compression": "none",
}
VIEW = MelView.model_validate(PLAIN | {"kind": "mel", "fmax_hz": 8000.0, "dtype": "float16"})
PCEN = PcenParams(gain=0.98, bias=2.0, power=0.5, time_constant_s=0.4, eps=1e-6)
PCEN_UINT8 = PcenView.model_validate(PLAIN | {"kind": "pcen", "fmax_hz": 8000.0, "dtype": "uint8", "pcen": PCEN})
VIEWS = pytest.mark.parametrize("view", [VIEW, PCEN_UINT8], ids=["mel float16", "pcen uint8"])


def machine(workers: int = 1) -> MachineParams:
    return parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": workers})


def as_source(path: Path) -> Source:
    return Source(content_sha256(path), str(path), float(soundfile.info(path).duration))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Eight clips of 1 to 2.6 s."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(1)
    for number in range(8):
        write_audio(folder / f"XC{number}.ogg", song(500.0 + 300 * number, 1 + number / 4.5, rng))
    return [as_source(path) for path in sorted(folder.iterdir())]


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the disk these tests take half the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small stores have two parts instead of sixteen, so that recordings share them."""
    monkeypatch.setattr(keys, "FEWEST_PART_BITS", 1)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A function that builds and commits tmp_path/mel.zarr over the pool `pool`; returns its files and the refusals."""

    def make(
        sources: Sequence[Source], pool: str = "pool", workers: int = 1, view: View = VIEW
    ) -> tuple[Bytes, list[RejectedAudio]]:
        builder = Builder(view, tmp_path / pool, machine(workers))
        parts, refused = builder.build(sources, "test")
        target = tmp_path / "mel.zarr"
        commit_store(target, builder.view, builder.digest, builder.quantizer, parts)
        verify(Store(target, view))
        files = (path for path in target.rglob("*") if path.is_file())
        return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}, refused

    return make


@pytest.fixture
def bad_sources(tmp_path: Path, sources: list[Source]) -> list[Source]:
    """A file that breaks off while decoding, one that changed, an empty one, one that is gone, and a text."""
    broken_S = song(900, 20, np.random.default_rng(1))
    broken_S[-1] = np.nan
    soundfile.write(tmp_path / "broken.wav", broken_S, RATE_HZ, subtype="FLOAT")
    for name, content in {"changed.ogg": b"1", "empty.ogg": b"", "text.ogg": b"<html>"}.items():
        (tmp_path / name).write_bytes(content)
    bad = {name: content_sha256(tmp_path / name) for name in ("broken.wav", "empty.ogg", "text.ogg")}
    bad |= {"changed.ogg": "1" * 64, "gone.ogg": "2" * 64}
    return [Source(sha256, str(tmp_path / name), 1.0) for name, sha256 in bad.items()]


def damaged_shard(tmp_path: Path) -> str:
    """Damage the largest part of tmp_path/mel.zarr, and so the pool; return the part's name."""
    store = Store(tmp_path / "mel.zarr")
    part = max(store.manifest.parts, key=lambda part: part.frames)
    shard = tmp_path / "mel.zarr/parts" / part.name / "c/0/0"
    shard.chmod(0o644)
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        verify(store)
    return part.name


def first_chunk(tmp_path: Path, source: Source) -> tuple[str, int]:
    """Part and chunk in which a recording begins."""
    store = Store(tmp_path / "mel.zarr")
    (row,) = store.rows_of([source.sha256])
    return store.manifest.parts[store.part[row]].name, int(store.start[row]) // CHUNK_FRAMES


def key_of(source: Source) -> str:
    return content_key(source.sha256, view_digest(VIEW, FRONTEND_VERSION, DECODER_VERSION))


def paths_in_part(sources: Sequence[Source], name: str) -> set[str]:
    return {source.path for source in sources if part_name(key_of(source), 1) == name}


@VIEWS
def test_store_holds_the_encoded_spectrogram_of_every_source(
    tmp_path: Path, make_store: MakeStore, sources: list[Source], view: View
) -> None:
    make_store(sources, view=view)
    store = Store(tmp_path / "mel.zarr", view)
    assert len(store) == len(sources)
    for row, source in zip(store.rows_of([source.sha256 for source in sources]), sources, strict=True):
        with threadpool_limits(1):
            values = spectrogram(read_waveform(Path(source.path), RATE_HZ), view)
        np.testing.assert_array_equal(store.read(int(row)), store.quantizer.decode(store.quantizer.encode(values)))


@VIEWS
def test_store_is_byte_identical_for_one_and_two_workers_and_any_order(
    make_store: MakeStore, sources: list[Source], view: View
) -> None:
    one, _ = make_store(sources, "one", view=view)
    two, _ = make_store(sources[::-1], "two", workers=2, view=view)
    assert one == two


@pytest.mark.parametrize("part_bytes", [2**25, 1000], ids=["two parts", "a changing number of parts"])
def test_store_is_byte_identical_after_increments_and_removals(
    make_store: MakeStore, sources: list[Source], monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    monkeypatch.setattr(keys, "PART_BYTES", part_bytes)
    counts = (5, 8, 3)
    grown = [make_store(sources[:count], "grown")[0] for count in counts]
    for count, files in zip(counts, grown, strict=True):
        assert make_store(sources[:count], f"at once {count}")[0] == files


def test_nothing_is_decoded_twice(
    make_store: MakeStore, sources: list[Source], decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    make_store(sources[:5])
    assert sorted(decoded) == [source.path for source in sources[:5]]
    decoded.clear()
    make_store(sources[2:8])
    assert sorted(decoded) == [source.path for source in sources[5:8]]
    decoded.clear()
    make_store(sources[1:7])
    assert decoded == []
    capsys.readouterr()
    make_store(sources[2:8])
    assert "to write" not in capsys.readouterr().out


def test_another_view_is_decoded_and_the_old_one_kept(
    make_store: MakeStore, sources: list[Source], decoded: list[str]
) -> None:
    before, _ = make_store(sources[:3])
    make_store(sources[:3], view=VIEW.model_copy(update={"hop": 128}))
    assert len(decoded) == 6
    assert make_store(sources[:3])[0] == before
    assert len(decoded) == 6


def interrupted_after(count: int) -> Callable[..., Iterator[QuantizedArray]]:
    """`decode_quantized`, until somebody presses Ctrl-C."""
    left = iter(range(count))
    quantized: Callable[..., Iterator[QuantizedArray]] = vars(worker)["decode_quantized"]  # which `decoded` counts

    def interrupted(decoder: Decoder, *facts: Any) -> Iterator[QuantizedArray]:
        blocks = quantized(decoder, *facts)
        if next(left, None) is None:
            raise KeyboardInterrupt
        return blocks

    return interrupted


def test_killed_build_resumes_with_its_finished_parts(
    make_store: MakeStore, sources: list[Source], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = make_store(sources, "undisturbed")
    decoded.clear()
    with monkeypatch.context() as patch:
        patch.setattr(worker, "decode_quantized", interrupted_after(len(sources) - 1))
        with pytest.raises(KeyboardInterrupt):
            make_store(sources)
    assert make_store(sources)[0] == whole
    again = {path for path, times in Counter(decoded).items() if times > 1}
    assert set(decoded) == {source.path for source in sources}
    assert again in (paths_in_part(sources, "0"), paths_in_part(sources, "1"))


def test_unexpected_error_ends_the_build(
    make_store: MakeStore, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*facts: Any) -> Iterator[QuantizedArray]:
        raise MemoryError("no memory")

    monkeypatch.setattr(worker, "decode_quantized", fail)
    with pytest.raises(MemoryError, match="no memory"):
        make_store(sources)


def test_refused_files_are_listed_with_reasons_and_leave_no_trace(
    make_store: MakeStore, sources: list[Source], bad_sources: list[Source]
) -> None:
    clean, none = make_store(sources, "clean")
    assert none == []
    files, refused = make_store([*bad_sources, *sources], "soiled")
    assert files == clean
    reasons = [(Path(entry.file).name, str(entry)) for entry in refused]
    assert [name for name, _ in reasons] == ["broken.wav", "changed.ogg", "empty.ogg", "gone.ogg", "text.ogg"]
    rules = ["holds samples that are not finite", "has changed", "is empty", "cannot be read", "is not audio"]
    assert all(f"{name}: {rule}" in reason for (name, reason), rule in zip(reasons, rules, strict=True))


def test_file_that_changed_after_it_was_listed_is_refused(
    tmp_path: Path, make_store: MakeStore, sources: list[Source]
) -> None:
    (tmp_path / "XC.ogg").write_bytes(Path(sources[0].path).read_bytes())
    source = as_source(tmp_path / "XC.ogg")
    assert make_store([source])[1] == []
    (tmp_path / "XC.ogg").write_bytes(Path(sources[1].path).read_bytes())
    _, (refused,) = make_store([source], "fresh")
    assert str(refused) == f"{source.path}: has changed since stage `recordings` read it; run `dvc repro`"


def test_nothing_but_refused_files_makes_an_empty_store(
    tmp_path: Path, make_store: MakeStore, bad_sources: list[Source]
) -> None:
    assert len(make_store(bad_sources)[1]) == len(bad_sources)
    assert len(Store(tmp_path / "mel.zarr")) == 0
    assert make_store([])[1] == []


@VIEWS
def test_samples_that_overflow_are_refused(
    tmp_path: Path, make_store: MakeStore, sources: list[Source], view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.zeros(RATE_HZ, np.float32)
    broken[500] = 1e30
    soundfile.write(tmp_path / "XC.wav", broken, RATE_HZ, subtype="FLOAT")
    listed = [*sources[:2], as_source(tmp_path / "XC.wav")]
    _, (refused,) = make_store(listed, view=view)
    assert (refused.code, refused.detail) == ("damaged", "reaches 1e+30 times full scale")
    assert len(Store(tmp_path / "mel.zarr")) == 2
    monkeypatch.setattr(samples, "LOUDEST", np.inf)
    with pytest.raises(RejectedAudio, match="its spectrogram holds values that are not finite numbers") as caught:
        list(quantized_blocks(tmp_path / "XC.wav", packed_view(view)))
    assert caught.value.code == "not-finite"


def test_views_that_cannot_be_computed_or_stored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mel bins .* hold no FFT bin"):
        Builder(VIEW.model_copy(update={"n_mels": 400}), tmp_path, machine())
    unbounded = PCEN_UINT8.pcen.model_copy(update={"gain": 0.0})
    Builder(PCEN_UINT8.model_copy(update={"pcen": unbounded}), tmp_path, machine())
    with pytest.raises(ValueError, match=r"values reach .* float16 ends at 65504; raise pcen\.gain"):
        Builder(PCEN_UINT8.model_copy(update={"pcen": unbounded, "dtype": "float16"}), tmp_path, machine())


def test_damaged_part_is_decoded_again(
    tmp_path: Path, make_store: MakeStore, sources: list[Source], decoded: list[str]
) -> None:
    before, _ = make_store(sources)
    lost = paths_in_part(sources, damaged_shard(tmp_path))
    decoded.clear()
    assert make_store(sources)[0] == before
    assert set(decoded) == lost


def test_rows_of_a_damaged_chunk_are_not_copied(
    tmp_path: Path, make_store: MakeStore, sources: list[Source], decoded: list[str]
) -> None:
    make_store(sources)
    damaged = damaged_shard(tmp_path)
    gone = max((source for source in sources if source.path in paths_in_part(sources, damaged)), key=key_of)
    rest = [source for source in sources if source != gone]
    lost = {source.path for source in rest if first_chunk(tmp_path, source) == (damaged, 0)}
    expected, _ = make_store(rest, "undisturbed")
    decoded.clear()
    assert make_store(rest)[0] == expected
    assert set(decoded) == lost != set()


def test_damaged_part_is_decoded_again_beside_refused_files(
    tmp_path: Path, make_store: MakeStore, sources: list[Source], bad_sources: list[Source]
) -> None:
    everything = [*sources, *bad_sources]
    before, _ = make_store(everything)
    damaged_shard(tmp_path)
    assert make_store(everything)[0] == before


def test_memory_of_a_worker_does_not_grow_with_the_length_of_a_recording(tmp_path: Path) -> None:
    rng, peaks = np.random.default_rng(1), []
    for name, seconds in (("warm", 1), ("short", 30), ("long", 300)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", RATE_HZ, 1, "PCM_16") as file:
            for _ in range(seconds):
                file.write(song(900, 1, rng))
        builder = Builder(VIEW, tmp_path / name, machine())
        source = as_source(tmp_path / f"{name}.wav")
        tracemalloc.start()
        builder.build([source], "test")  # this process
        for _ in quantized_blocks(Path(source.path), packed_view(VIEW)):  # and what the one does that decodes
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_build_that_cannot_fit_on_the_disk_is_refused_before_it_decodes(
    tmp_path: Path, make_store: MakeStore, sources: list[Source], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed_bytes = sum(VIEW.frames(source.duration_s) for source in sources) * VIEW.n_mels * 2
    usage = shutil.disk_usage(tmp_path)
    for free_bytes in (0, build.SPARE_BYTES + needed_bytes - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free_bytes: usage._replace(free=free))
        with pytest.raises(PipelineError, match=r"pool: the new parts need .* GB, but only .* GB are free; run `birdc"):
            make_store(sources)
    assert decoded == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=build.SPARE_BYTES + needed_bytes))
    make_store(sources)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    make_store(sources)  # everything is there


def test_parts_are_handed_out_longest_first_by_duration_not_by_count(
    make_store: MakeStore, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[PartJob] = []

    def watch(tasks: Iterable[Task], machine: MachineParams) -> Iterator[Any]:
        tasks = list(tasks)
        handed.extend(job for _, (job, _) in tasks)
        return run_unordered(tasks, machine)

    monkeypatch.setattr(keys, "FEWEST_PART_BITS", 2)
    monkeypatch.setattr(build, "run_unordered", watch)
    make_store(sources[:5], "pool")
    durations = [job.duration_s for job in handed]
    assert durations == sorted(durations, reverse=True)
    handed.clear()
    make_store(sources, "pool")  # five are finished: only what is new counts
    known = {source.sha256 for source in sources[:5]}
    new_s = [sum(source.duration_s for source in job.sources if source.sha256 not in known) for job in handed]
    assert [job.duration_s for job in handed] == pytest.approx(new_s)
    assert new_s == sorted(new_s, reverse=True)
    assert len(handed) > 1


KILLED = """
import sys
from pathlib import Path
from tests.pipeline.builder.test_build import VIEW, Builder, as_source, machine
sources = [as_source(path) for path in sorted(Path(sys.argv[1]).iterdir())]
Builder(VIEW, Path(sys.argv[2]), machine()).build(sources, "killed")
"""


@pytest.mark.slow
def test_build_that_is_killed_outright_resumes_with_its_finished_parts(
    tmp_path: Path, make_store: MakeStore, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "FEWEST_PART_BITS", 4)
    rng = np.random.default_rng(1)
    for number in range(64):
        write_audio(tmp_path / f"clips/XC{number}.ogg", song(500.0 + 30 * number, 3, rng))
    sources = [as_source(path) for path in sorted((tmp_path / "clips").iterdir())]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "clips"), str(tmp_path / "pool")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list((tmp_path / "pool").glob("*/[0-9a-f]*/rows.json")):
            assert process.poll() is None
        process.kill()
    files, _ = make_store(sources)
    assert 0 < len(decoded) < len(sources)
    assert make_store(sources, "undisturbed")[0] == files


def test_pool_of_a_version_that_cancelled_a_bird_gives_all_but_that_one(
    tmp_path: Path, sources: list[Source], make_store: MakeStore
) -> None:
    song_S = song(2000.0, 2.0, np.random.default_rng(1))
    soundfile.write(tmp_path / "inverted.wav", np.stack([song_S, -song_S + 1e-4], axis=1), RATE_HZ)
    scan = scan_file(tmp_path / "inverted.wav", parameters.load(ROOT / "params.yaml").data)
    assert (scan.read_as, [note.code for note in scan.notes]) == ("channel 1", ["opposite-phase"])
    as_ever = as_source(tmp_path / "inverted.wav")
    make_store([*sources, as_ever])  # by the mean: what older versions have in their pools
    cancelled_TM = stored(tmp_path, as_ever.sha256)
    jobs = Builder(VIEW, tmp_path / "pool", machine()).plan([*sources, replace(as_ever, read_as=scan.read_as)])
    assert [source.path for job in jobs for source in job.new] == [as_ever.path]
    make_store([*sources, replace(as_ever, read_as=scan.read_as)])
    assert stored(tmp_path, as_ever.sha256).max() > cancelled_TM.max() + 40


def stored(tmp_path: Path, sha256: str) -> np.ndarray:
    """The spectrogram of a recording in the store, in dB."""
    store = Store(tmp_path / "mel.zarr", VIEW)
    (row,) = store.rows_of([sha256]).tolist()
    return np.asarray(store.read(row), np.float32)
