"""Stage `spectrograms` from params.yaml and tables to stores, report and picture, against librosa."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile

from birdcache.audio.read import content_sha256
from birdcache.errors import PipelineError, StoreError
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.views import MelView, PcenView
from cache import tables
from cache.locks import replacing
from cache.mel import mel_filters, mel_places
from cache.store import Store
from pipeline import spectrograms
from pipeline.spectrograms import open_builder, pool_root, read_sources
from tests.fixtures.failing_disk import FailingDisk
from tests.fixtures.stores import verify
from tests.fixtures.tiny import RATE_HZ, song, tiny_params, write_audio, write_params

RunStage = Callable[..., Any]
PCEN = tiny_params("chorus")["views"]["pcen"]["pcen"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with four recordings and a soundscape, as stage `recordings` leaves it; the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIRDCACHE_POOL", raising=False)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    rng = np.random.default_rng(1)
    for number in range(4):
        write_audio(tmp_path / f"chorus/robin/XC{number}.ogg", song(700.0 * (number + 1), 1 + number / 2, rng))
    write_audio(tmp_path / "chorus/dawn.ogg", song(1000.0, 4, rng))
    list_audio("audio", sorted(Path("chorus/robin").iterdir()))
    list_audio("soundscapes", [Path("chorus/dawn.ogg")])
    return tmp_path


def list_audio(table: str, paths: list[Path]) -> None:
    rows = [(content_sha256(path), path.as_posix(), soundfile.info(path).duration) for path in paths]
    Path("data/tables").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["sha256", "path", "duration_s"]).to_csv(f"data/tables/{table}.csv", index=False)


def load_params(name: str, most: float = 1.0, **changes: object) -> Params:
    """Write params.yaml with changes of one view and `most` as max_refused_share, and read it as the stage does."""
    raw = tiny_params("chorus")
    raw["data"]["max_refused_share"] = most
    raw["views"][name] |= changes
    write_params(Path("params.yaml"), raw)
    return parameters.load()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> RunStage:
    """A function that runs the stage for a view, with changes of that view, and returns its report."""

    def run_stage(name: str = "mel", most: float = 1.0, **changes: object) -> Any:
        load_params(name, most, **changes)
        monkeypatch.setattr(sys, "argv", ["pipeline.spectrograms", name])
        spectrograms.main()
        return json.loads(Path(f"reports/spectrograms/{name}/summary.json").read_text())

    return run_stage


def reference(path: str, view: MelView | PcenView) -> npt.NDArray[np.float64]:
    """(T, M) values by soundfile and librosa alone, in float64."""
    waveform_S = soundfile.read(path)[0]
    power_MT = librosa.feature.melspectrogram(
        y=waveform_S,
        sr=view.sample_rate_hz,
        n_fft=view.n_fft,
        hop_length=view.hop,
        n_mels=view.n_mels,
        fmin=view.fmin_hz,
        fmax=view.fmax_hz,
        pad_mode="constant",
    )
    if isinstance(view, MelView):
        return np.asarray(librosa.power_to_db(power_MT, ref=1.0, amin=1e-10, top_db=None).T, np.float64)
    numbers = view.pcen.model_dump()
    numbers["time_constant"] = numbers.pop("time_constant_s")
    pcen_MT = librosa.pcen(power_MT * 2.0**62, sr=view.sample_rate_hz, hop_length=view.hop, **numbers)
    return np.asarray(pcen_MT.T, np.float64)


@pytest.mark.parametrize("name", ["mel", "pcen"])
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_stores_hold_what_librosa_computes_within_a_step(run: RunStage, name: str, dtype: str) -> None:
    run(name, dtype=dtype)
    view = parameters.load().spectrograms[name]
    for table, kind in [(tables.AUDIO, ""), (tables.SOUNDSCAPES, "-soundscapes")]:
        store = Store(Path(f"data/cache/{name}{kind}.zarr"), view)
        verify(store)
        sources = read_sources(table)
        assert len(store) == len(sources) > 0
        for row, source in zip(store.rows_of([source.sha256 for source in sources]), sources, strict=True):
            expected = reference(source.path, view)
            step = store.quantizer.step / 2 if dtype == "uint8" else np.abs(expected) * 2.0**-11 + 2.0**-25
            stored = store.read(int(row))
            assert stored.shape == expected.shape
            assert (np.abs(stored - expected) <= step + 1e-4 + 1e-4 * np.abs(expected)).all()


def test_report_tells_what_the_stores_hold(run: RunStage) -> None:
    report = run()
    recordings, soundscapes_ = report["recordings"], report["soundscapes"]
    assert (recordings["recordings"], soundscapes_["recordings"]) == (4, 1)
    assert recordings["refused"] == soundscapes_["refused"] == {}
    assert Path("reports/spectrograms/mel/refused.csv").read_text() == "file,code,detail,hint\n"
    assert recordings["frames"] == sum(1 + round(seconds * RATE_HZ) // 256 for seconds in (1, 1.5, 2, 2.5))
    assert recordings["hours"] == round(7 / 3600, 3)
    assert recordings["parts"] == len(list(Path("data/cache/mel.zarr/parts").glob("*/c")))


def test_outputs_repeat_byte_for_byte(run: RunStage) -> None:
    def outputs() -> dict[Path, bytes]:
        return {
            path: path.read_bytes() for top in ("data", "reports") for path in Path(top).rglob("*") if path.is_file()
        }

    run()
    before = outputs()
    shutil.rmtree(".birdcache")
    run()
    assert outputs() == before


def test_refused_file_is_reported_and_costs_no_other(run: RunStage) -> None:
    Path("chorus/robin/XC2.ogg").write_bytes(b"<html>not found</html>")
    list_audio("soundscapes", [])
    report = run()
    assert report["recordings"]["recordings"] == 3
    assert report["recordings"]["hours"] == round(5 / 3600, 3)
    assert report["recordings"]["refused"] == {"changed": 1}
    table = pd.read_csv("reports/spectrograms/mel/refused.csv")
    assert table.to_numpy().tolist() == [
        ["chorus/robin/XC2.ogg", "changed", "has changed since stage `recordings` read it", "run `dvc repro`"]
    ]
    assert report["soundscapes"]["recordings"] == 0
    assert len(Store(Path("data/cache/mel-soundscapes.zarr"))) == 0


def test_recordings_of_which_none_can_be_decoded_are_an_error(run: RunStage) -> None:
    for path in Path("chorus/robin").iterdir():
        path.write_bytes(b"")
    message = r"mel\.zarr: none of 4 audio files can be decoded; the first: chorus/robin/XC0\.ogg: has changed"
    with pytest.raises(PipelineError, match=message):
        run()
    assert not Path("data/cache/mel.zarr").exists()
    assert list(pd.read_csv("reports/spectrograms/mel/refused.csv")["code"]) == ["changed"] * 4


def test_content_that_is_listed_twice_is_decoded_once(run: RunStage, decoded: list[str]) -> None:
    shutil.copy("chorus/robin/XC0.ogg", "chorus/robin/XC9.ogg")
    shutil.copy("chorus/robin/XC1.ogg", "chorus/dusk.ogg")
    list_audio("audio", sorted(Path("chorus/robin").iterdir()))
    list_audio("soundscapes", [Path("chorus/dawn.ogg"), Path("chorus/dusk.ogg")])
    report = run()
    assert report["recordings"]["recordings"] == 4
    assert report["soundscapes"]["recordings"] == 2
    # The soundscape XC1 lies in another part than the recording, whose rows are copied.
    assert sorted(Path(path).name for path in decoded) == ["XC0.ogg", "XC1.ogg", "XC2.ogg", "XC3.ogg", "dawn.ogg"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mel", {"n_mels": 512}, r"params\.yaml: views\.mel: \d+ of 512 mel bins .* hold no FFT bin; raise n_fft"),
        ("pcen", {"pcen": PCEN | {"gain": 0.0}}, r"params\.yaml: views\.pcen: values reach .*, float16 ends at 65504"),
    ],
)
def test_view_whose_numbers_do_not_go_together_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    params = load_params(name, **changes)
    with pytest.raises(PipelineError, match=message):
        open_builder(name, params)


def test_unknown_view_is_refused_with_the_known_ones() -> None:
    params = load_params("mel")
    with pytest.raises(PipelineError, match=r"params\.yaml: views\.mle does not exist; choose one of: mel, pcen"):
        open_builder("mle", params)


def test_pool_is_that_of_the_environment_or_of_the_params(run: RunStage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool_root("here/pool") == Path("here/pool")
    monkeypatch.setenv("BIRDCACHE_POOL", "shared")
    assert pool_root("here/pool") == Path("shared")
    run()
    assert not Path(".birdcache").exists()
    assert len(list(Path("shared").glob("*/*/rows.json"))) > 0


@pytest.mark.parametrize("size", [0, 3000, 32_780])
def test_full_disk_is_told_with_a_path_and_nothing_is_lost(run: RunStage, size: int, project: Path) -> None:
    run()
    before = Store(Path("data/cache/mel.zarr")).digest
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    load_params("mel", hop=128)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(StoreError, match=r"/.*: cannot be written: File too large.*run the stage again"):
            spectrograms.main()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Store(Path("data/cache/mel.zarr")).digest == before
    names = {path.name for path in project.rglob("*") if path.name.startswith(("tmp-", "."))}
    assert names == {".birdcache", ".mel.zarr.lock", ".mel-soundscapes.zarr.lock"}
    run(hop=128)
    verify(Store(Path("data/cache/mel.zarr")))


@pytest.mark.slow
@pytest.mark.parametrize("stays_full", [False, True])
def test_whichever_write_of_the_stage_fails_the_old_store_stays(
    run: RunStage, monkeypatch: pytest.MonkeyPatch, stays_full: bool, project: Path
) -> None:
    run()
    before, told = Store(Path("data/cache/mel.zarr")).digest, list[str]()
    load_params("mel", hop=128)
    for at in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        with monkeypatch.context() as patch:
            FailingDisk(patch, at, stays_full)
            try:
                spectrograms.main()
            except StoreError as error:
                told.append(str(error))
                assert Store(Path("data/cache/mel.zarr")).digest == before
        verify(Store(Path("data/cache/mel.zarr")))  # a link that fails once becomes a symbolic one
        before = Store(Path("data/cache/mel.zarr")).digest
        assert not [path for path in project.rglob("*") if path.name.startswith(("tmp-", ".mel.zarr.n", ".mel.zarr.o"))]
        shutil.rmtree(".birdcache", ignore_errors=True)
    assert all(
        re.search(r"(\.birdcache|data/cache|reports)\S*: cannot be written: No space left", each) for each in told
    )
    assert len(told) > 5
    run(hop=128)
    verify(Store(Path("data/cache/mel.zarr")))


def test_second_build_of_a_store_is_refused(run: RunStage) -> None:
    refused = pytest.raises(StoreError, match=rf"data/cache/mel\.zarr: process {os.getpid()} on .* is building it")
    with replacing(Path("data/cache/mel.zarr"), lambda process: None), refused:
        run()
    run()


def test_what_decodes_to_nothing_good_is_refused_with_its_class(run: RunStage) -> None:
    quiet = song(900, 2, np.random.default_rng(1))
    soundfile.write("silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write("nan.wav", np.where(quiet == quiet[RATE_HZ], np.nan, quiet), RATE_HZ, subtype="FLOAT")
    soundfile.write("unscaled.wav", quiet * 2**15, RATE_HZ, subtype="FLOAT")
    soundfile.write("whole.flac", quiet, RATE_HZ)
    Path("cut.flac").write_bytes(Path("whole.flac").read_bytes()[:20_000])
    bad = {"cut.flac": "truncated", "nan.wav": "not-finite", "silence.wav": "silent", "unscaled.wav": "damaged"}
    good = sorted(Path("chorus/robin").iterdir())
    list_audio("audio", good)
    run()
    without = Store(Path("data/cache/mel.zarr")).digest
    list_audio("audio", [*good, *map(Path, bad)])
    report = run()
    assert report["recordings"]["refused"] == {"damaged": 1, "not-finite": 1, "silent": 1, "truncated": 1}
    table = pd.read_csv("reports/spectrograms/mel/refused.csv", index_col="file")
    assert table["code"].to_dict() == bad
    assert Store(Path("data/cache/mel.zarr")).digest == without


def test_silent_soundscape_is_predicted_and_a_silent_recording_is_not_learnt_from(
    run: RunStage, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write("still.wav", np.full(2 * RATE_HZ, 0.5), RATE_HZ)  # another length: nothing moves
    silent, good = [Path("silence.wav"), Path("still.wav")], sorted(Path("chorus/robin").iterdir())
    list_audio("audio", [*good, *silent])
    list_audio("soundscapes", [Path("chorus/dawn.ogg"), *silent])
    for _ in range(2):  # the second time its frames lie in the pool
        report = run(dtype="uint8")
        assert report["recordings"] | {"refused": {"silent": 2}, "silent": []} == report["recordings"]
        assert report["soundscapes"] | {"refused": {}, "silent": list(map(str, silent))} == report["soundscapes"]
        table = pd.read_csv("reports/spectrograms/mel/refused.csv")
        assert list(table["file"]) == ["silence.wav", "still.wav"]
        store = Store(Path("data/cache/mel-soundscapes.zarr"))
        assert (store.rows_of([content_sha256(path) for path in silent]) >= 0).all()
        assert len(Store(Path("data/cache/mel.zarr"))) == 4
        assert "WARNING: 2 soundscapes are silent, but predicted" in capsys.readouterr().out
        for path in Path("data/cache").iterdir():
            if path.is_dir():
                shutil.rmtree(path)


def test_only_silence_of_soundscapes_is_accepted(run: RunStage) -> None:
    Path("empty.wav").write_bytes(b"")
    list_audio("audio", sorted(Path("chorus/robin").iterdir()))
    soundfile.write("nan.wav", np.full(RATE_HZ, np.nan), RATE_HZ, subtype="FLOAT")
    list_audio("soundscapes", [Path("chorus/dawn.ogg"), Path("nan.wav")])
    report = run()["soundscapes"]
    assert (report["recordings"], report["refused"], report["silent"]) == (1, {"not-finite": 1}, [])


def test_stores_of_silence_alone_are_built(run: RunStage) -> None:
    soundfile.write("silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    list_audio("soundscapes", [Path("silence.wav")])
    assert run()["soundscapes"]["recordings"] == 1


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("00,chorus/dawn.ogg,1.0", "chorus/dawn.ogg: has no SHA-256 or duration"),
        (f"{'0' * 64},chorus/dawn.ogg,inf", "chorus/dawn.ogg: has no SHA-256 or duration"),
        (f"{'0' * 64},chorus/dawn.ogg,long", "row 2, column duration_s: 'long' is not a number"),
        (f"{'0' * 64},chorus/dawn.ogg", "row 2, column duration_s is empty"),
    ],
)
def test_table_that_was_changed_by_hand_is_refused(run: RunStage, row: str, rule: str) -> None:
    Path("data/tables/soundscapes.csv").write_text(f"sha256,path,duration_s\n{row}\n")
    with pytest.raises(PipelineError, match=rf"data/tables/soundscapes\.csv: {rule}.*dvc repro"):
        run()


def test_too_many_refused_files_fail_the_stage_after_the_others_are_done(run: RunStage) -> None:
    Path("chorus/robin/XC2.ogg").write_bytes(b"")
    message = r"data\.max_refused_share = 0\.1: 1 of 5 files \(20\.0%\) .*changed 1.*reports/spectrograms/mel/refused"
    with pytest.raises(PipelineError, match=message):
        run(most=0.1)
    assert len(Store(Path("data/cache/mel.zarr"))) == 3
    assert len(Store(Path("data/cache/mel-soundscapes.zarr"))) == 1
    assert Path("reports/spectrograms/mel/summary.json").exists()


@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
def test_ticks_of_the_picture_lie_at_the_mel_bins_of_their_frequency(mel_scale: str) -> None:
    view = load_params("mel", mel_scale=mel_scale, n_fft=8192).spectrograms["mel"]
    bins_hz = np.fft.rfftfreq(view.n_fft, 1 / view.sample_rate_hz)
    centres_hz = bins_hz[mel_filters(view).argmax(axis=0)]  # to half an FFT bin, that is 1 Hz
    np.testing.assert_allclose(mel_places(centres_hz, view), np.arange(view.n_mels), atol=0.05)
