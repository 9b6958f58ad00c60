"""Recordings and pool behind URLs, here in fsspec's `memory://`: the same tables and stores as from local files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from birdcache.audio.paths import Bounds
from birdcache.audio.read import content_sha256, fetched
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError, StoreError
from birdcache.params import load as parameters
from birdcache.params.sections import DataParams, MachineParams
from birdcache.params.views import MelView
from birdcache.predict.submission import SubmissionForm
from birdcache.storage import AnyPath
from birdcache.user_tables import read_user_table
from cache import keys
from cache.store import Store
from cache.store_writer import commit_store
from pipeline.builder import worker
from pipeline.builder.build import Builder
from pipeline.builder.plan import Source
from pipeline.dataset.metadata import Metadata, read_metadata
from pipeline.dataset.scan import scan_file, scan_files
from tests.fixtures.stores import verify
from tests.fixtures.tiny import ROOT
from tests.fixtures.waveform import read_waveform

WriteClip = Callable[..., Path]
MakeParams = Callable[..., DataParams]
URL = "memory://bucket/chorus"


@pytest.fixture
def machine() -> MachineParams:
    """One worker: this process, whose memory holds the remote files."""
    return parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": 1})


@pytest.fixture
def view() -> MelView:
    view = parameters.load(ROOT / "params.yaml").spectrograms["mel"]
    assert isinstance(view, MelView)
    return view.model_copy(update={"n_mels": 32})


@pytest.fixture
def upload(birdclef: Path) -> Callable[[], None]:
    """A function that copies the data set `birdclef` to URL, in place of what is there."""

    def copy() -> None:
        MemoryFileSystem.store.clear()
        for path in birdclef.rglob("*"):
            if path.is_file():
                (UPath(URL) / path.relative_to(birdclef).as_posix()).write_bytes(path.read_bytes())

    copy()
    return copy


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the remote files whose content was fetched, by whatever way."""
    paths: list[str] = []
    inside: list[str] = []
    for name in ("get_file", "cat_file", "_open"):
        monkeypatch.setattr(MemoryFileSystem, name, noting(getattr(MemoryFileSystem, name), paths, inside))
    return paths


def noting(method: Callable[..., Any], paths: list[str], inside: list[str]) -> Callable[..., Any]:
    """A method that notes its path, unless another one with that path calls it."""

    def called(files: Any, path: str, *arguments: Any, **keywords: Any) -> Any:
        if path in inside:
            return method(files, path, *arguments, **keywords)
        paths.append(path)
        inside.append(path)
        try:
            return method(files, path, *arguments, **keywords)
        finally:
            inside.remove(path)

    return called


def assert_same(remote: Metadata, local: Metadata) -> None:
    expected = local.recordings.assign(path=local.recordings["path"].str.replace("chorus/", f"{URL}/"))
    pd.testing.assert_frame_equal(remote.recordings, expected)
    pd.testing.assert_frame_equal(remote.taxonomy, local.taxonomy)
    pd.testing.assert_frame_equal(remote.truth, local.truth)
    assert remote.submission == local.submission
    urls = [path.as_posix().replace("chorus/", f"{URL}/") for path in local.soundscapes.values()]
    assert list(remote.soundscapes) == list(local.soundscapes)
    assert [path.as_posix() for path in remote.soundscapes.values()] == urls
    assert (remote.others, remote.warnings) == (local.others, local.warnings)
    assert [each.file for each in remote.left_out] == [
        each.file.replace("chorus/", f"{URL}/") for each in local.left_out
    ]


def test_layout_birdclef_reads_the_same_from_a_url(
    birdclef: Path, upload: Callable[[], None], data_params: MakeParams
) -> None:
    (birdclef / "taxonomy.csv").write_text("primary_label,common_name\nwren,Wren\n")
    (birdclef / "sample_submission.csv").write_text("row_id,wren,robin\n")
    upload()
    remote = read_metadata(data_params(root=URL))
    assert remote.submission == SubmissionForm(("wren", "robin"))
    assert remote.recordings["path"].iloc[0] == f"{URL}/train_audio/1234/XC4.ogg"
    assert_same(remote, read_metadata(data_params()))


def test_layout_folders_reads_the_same_from_a_url(
    birdclef: Path, upload: Callable[[], None], data_params: MakeParams, write_clip: WriteClip
) -> None:
    shutil.rmtree(birdclef / "train_audio")
    for name in ("wren/a.ogg", "song thrush/B.OGG", "song thrush/a #1.ogg", ".hidden/a.ogg", "wren/site 1/b.ogg"):
        write_clip(birdclef / name)
    (birdclef / "wren/c.m4a").touch()
    (birdclef / "notes").mkdir()
    (birdclef / "notes" / "readme.txt").write_text("no audio")
    upload()
    changes = {"layout": "folders", "soundscape_truth": None}
    remote = read_metadata(data_params(root=URL, **changes))
    assert list(remote.recordings["recording"]) == [
        "song thrush/B.OGG",
        "song thrush/a #1.ogg",
        "wren/a.ogg",
        "wren/site 1/b.ogg",
    ]
    assert_same(remote, read_metadata(data_params(**changes)))


def test_bare_file_names_of_2021_are_looked_up_with_one_listing_a_label(
    birdclef: Path, upload: Callable[[], None], data_params: MakeParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["primary_label,filename", "robin,XC0.ogg", "robin,XC1.ogg", "wren,XC2.ogg", "wren,XC99.ogg"]
    (birdclef / "train.csv").write_text("\n".join(rows) + "\n")
    upload()
    listed: list[str] = []
    monkeypatch.setattr(MemoryFileSystem, "ls", noting(MemoryFileSystem.ls, listed, []))
    remote = read_metadata(data_params(root=URL, soundscapes=None, soundscape_truth=None))
    assert list(remote.recordings["recording"]) == ["XC99.ogg", "robin/XC0.ogg", "robin/XC1.ogg", "wren/XC2.ogg"]
    assert sum(path.endswith("train_audio/robin") for path in listed) == 1


@pytest.mark.usefixtures("upload")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": f"{URL}/nowhere"}, rf"^{URL}/nowhere: no such folder; correct data\.root"),
        ({"soundscape_truth": "no.csv"}, rf"^{URL}/no\.csv: no such file; correct data\.soundscape_truth"),
        ({"soundscapes": "nowhere"}, rf"^{URL}/nowhere: no such folder; correct data\.soundscapes"),
    ],
)
def test_missing_remote_place_is_refused(data_params: MakeParams, changes: dict[str, str], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        read_metadata(data_params(**({"root": URL} | changes)))


def test_data_root_that_does_not_answer_is_named(data_params: MakeParams, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "isdir", refuse)
    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(
        StoreError, match=rf"^{URL}: cannot be reached \(PermissionError: Access Denied\); .*credentials"
    ):
        read_metadata(data_params(root=URL))


@pytest.mark.usefixtures("upload")
def test_missing_remote_table_is_refused() -> None:
    with pytest.raises(PipelineError, match=rf"^{URL}/no\.csv: cannot be read \(.*\); restore it"):
        read_user_table(UPath(URL) / "no.csv", ["a"], [], Bounds(UPath(URL), "inside"))


def test_scan_finds_the_same_in_remote_files_and_fetches_each_once(
    birdclef: Path,
    upload: Callable[[], None],
    data_params: MakeParams,
    machine: MachineParams,
    write_clip: WriteClip,
    fetches: list[str],
) -> None:
    cut = write_clip(birdclef / "bad" / "cut.ogg", 20)
    cut.write_bytes(cut.read_bytes()[:-500])
    write_clip(birdclef / "bad" / "short.ogg", 0.1)
    (birdclef / "bad" / "empty.ogg").touch()
    (birdclef / "bad" / "text.ogg").write_text("<html>")
    paths = sorted(path.as_posix() for path in birdclef.rglob("*.ogg"))
    upload()
    fetches.clear()
    urls = [path.replace("chorus/", f"{URL}/") for path in paths]
    remote, local = (scan_files(files, data_params(), machine, "clips") for files in (urls, paths))
    pd.testing.assert_frame_equal(remote, local)
    quantized = dict(zip(paths, local["code"], strict=True))
    bad = {"cut": "truncated", "empty": "empty", "short": "too-short", "text": "not-audio"}
    assert {path: code for path, code in quantized.items() if code} == {
        f"chorus/bad/{name}.ogg": bad[name] for name in bad
    }
    assert fetches == [url.removeprefix("memory:/") for url in urls]


def test_missing_remote_file_is_refused_under_its_own_name(data_params: MakeParams) -> None:
    gone = UPath(URL) / "gone.ogg"
    scan = scan_file(gone, data_params())
    assert scan.code == "unreadable"
    assert scan.detail.startswith("cannot be read (")
    with pytest.raises(PipelineError, match=rf"^{gone}: cannot be read"):
        read_waveform(gone, 32000)


def test_service_that_does_not_answer_is_no_fault_of_the_file(
    upload: Callable[[], None], data_params: MakeParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload()

    def refuse(*_: object, **__: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(MemoryFileSystem, "get_file", refuse)
    clip = UPath(URL) / "train_audio/wren/XC2.ogg"
    for read in (lambda: scan_file(clip, data_params()), lambda: read_waveform(clip, 32000)):
        with pytest.raises(StoreError, match=rf"^{clip}: cannot be reached \(TimeoutError: no answer\)"):
            read()


def test_fetched_file_is_the_local_one_itself_or_a_copy_that_goes(birdclef: Path, upload: Callable[[], None]) -> None:
    upload()
    local = birdclef / "train_audio/wren/XC2.ogg"
    with fetched(local) as same:
        assert same is local
    with fetched(UPath(URL) / "train_audio/wren/XC2.ogg") as copy:
        assert copy.read_bytes() == local.read_bytes()
    assert not copy.exists()
    assert local.exists()


def test_remote_waveform_is_the_local_one_and_another_content_is_refused(
    birdclef: Path, upload: Callable[[], None], fetches: list[str]
) -> None:
    upload()
    fetches.clear()
    local, remote = birdclef / "train_audio/wren/XC2.ogg", UPath(URL) / "train_audio/wren/XC2.ogg"
    sha256 = content_sha256(local)
    np.testing.assert_array_equal(read_waveform(remote, 16000, sha256), read_waveform(local, 16000, sha256))
    assert fetches == [remote.path]
    with pytest.raises(PipelineError, match=rf"^{remote}: has changed since stage `recordings`"):
        read_waveform(remote, 16000, "0" * 64)


@pytest.fixture
def decoded(decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that were decoded, into stores whose recordings share parts."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(keys, "FEWEST_PART_BITS", 1)
    return decoded


@pytest.fixture
def sources(birdclef: Path, upload: Callable[[], None]) -> list[Source]:
    """The recordings at URL."""
    upload()
    clips = sorted(birdclef.rglob("XC*.ogg"))
    return [Source(content_sha256(clip), f"{URL}/{clip.relative_to(birdclef).as_posix()}", 2.0) for clip in clips]


def build(
    target: Path, view: MelView, machine: MachineParams, sources: list[Source], pool: AnyPath
) -> tuple[Store, list[RejectedAudio]]:
    builder = Builder(view, pool, machine)
    parts, refused = builder.build(sources, "test")
    commit_store(target, view, builder.digest, builder.quantizer, parts)
    return Store(target, view), refused


def test_store_of_remote_audio_and_pool_is_the_local_one(
    sources: list[Source], view: MelView, machine: MachineParams, decoded: list[str], tmp_path: Path
) -> None:
    nearby = [Source(each.sha256, each.path.replace(URL, "chorus"), each.duration_s) for each in sources]
    local, _ = build(tmp_path / "local.zarr", view, machine, nearby, tmp_path / "pool")
    remote, _ = build(tmp_path / "remote.zarr", view, machine, sources, UPath("memory://bucket/pool"))
    assert remote.digest == local.digest
    verify(remote)
    for row in range(len(local)):
        np.testing.assert_array_equal(remote.read(row), local.read(row))
    assert len(decoded) == 2 * len(sources)


def test_added_recording_copies_the_rows_of_remote_parts_instead_of_decoding(
    sources: list[Source], view: MelView, machine: MachineParams, decoded: list[str], tmp_path: Path
) -> None:
    at_once, _ = build(tmp_path / "whole.zarr", view, machine, sources, tmp_path / "pool")
    pool = UPath("memory://bucket/pool")
    for before, count in ((0, 3), (3, 4), (4, 5)):
        decoded.clear()
        grown, _ = build(tmp_path / "grown.zarr", view, machine, sources[:count], pool)
        assert sorted(decoded) == [source.path for source in sources[before:count]]
    assert grown.digest == at_once.digest


def test_unchanged_store_is_neither_decoded_nor_uploaded_again(
    sources: list[Source],
    view: MelView,
    machine: MachineParams,
    decoded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = UPath("memory://bucket/pool")
    before, _ = build(tmp_path / "mel.zarr", view, machine, sources, pool)
    decoded.clear()
    monkeypatch.setattr(MemoryFileSystem, "put_file", None)
    after, _ = build(tmp_path / "mel.zarr", view, machine, sources, pool)
    assert decoded == []
    assert after.digest == before.digest


def test_damaged_remote_rows_are_decoded_again_instead_of_copied(
    sources: list[Source], view: MelView, machine: MachineParams, decoded: list[str], tmp_path: Path
) -> None:
    at_once, _ = build(tmp_path / "whole.zarr", view, machine, sources, tmp_path / "pool")
    pool = UPath("memory://bucket/pool")
    build(tmp_path / "grown.zarr", view, machine, sources[:-1], pool)
    for shard in pool.rglob("0"):
        if shard.is_file():
            shard.write_bytes(b"\1" + shard.read_bytes()[1:])
    grown, _ = build(tmp_path / "grown.zarr", view, machine, sources, pool)
    assert grown.digest == at_once.digest


def test_remote_file_that_is_gone_is_refused_and_leaves_no_trace(
    sources: list[Source], view: MelView, machine: MachineParams, decoded: list[str], tmp_path: Path
) -> None:
    whole, _ = build(tmp_path / "whole.zarr", view, machine, sources[1:], tmp_path / "pool")
    UPath(sources[0].path).unlink()
    store, refused = build(tmp_path / "mel.zarr", view, machine, sources, UPath("memory://bucket/pool"))
    assert [entry.file for entry in refused] == [sources[0].path]
    assert str(refused[0]).startswith(f"{sources[0].path}: cannot be read")
    assert store.digest == whole.digest


def test_worker_that_would_decode_otherwise_refuses(
    sources: list[Source],
    view: MelView,
    machine: MachineParams,
    decoded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "DECODER_VERSION", "libsndfile-0.1")
    monkeypatch.setattr(worker, "digest_of", lambda _: "of another version")
    with pytest.raises(PipelineError, match=r"this worker has another version .*libsndfile-0\.1.*install the same"):
        build(tmp_path / "mel.zarr", view, machine, sources, tmp_path / "pool")
    assert decoded == []
