"""`birdcache cache gc` over real builds: it frees what no store needs, after saying how much, and only after a yes."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from upath import UPath

from birdcache import cli
from birdcache.audio.read import content_sha256
from birdcache.params import load as parameters
from birdcache.storage import AnyPath, place
from birdcache.text import counted
from cache.gc import pool_usage
from cache.locks import building
from cache.store import Store
from pipeline import spectrograms
from pipeline.builder.plan import Source
from pipeline.spectrograms import build_store, open_builder
from tests.fixtures.stores import verify
from tests.fixtures.tiny import song, tiny_params, write_audio, write_params

Build = Callable[..., set[str]]
COLUMNS = ("kept parts", "kept GB", "parts", "GB")


class Terminal(io.StringIO):
    """What a user types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with five recordings and an empty pool of its own; the current directory."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("BIRDCACHE_POOL", str(tmp_path / "pool"))
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # no terminal, so nobody reads it
    rng = np.random.default_rng(1)
    for number in range(5):
        write_audio(tmp_path / f"audio/XC{number}.ogg", song(700.0 * (number + 1), 0.6 + number / 4, rng))
    return root


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A function that builds a view's store of `count` recordings, with changes of that view; names its parts."""

    def run(view: str = "mel", count: int = 5, project: Path = Path(), **changes: object) -> set[str]:
        raw: dict[str, Any] = tiny_params("chorus")
        raw["views"][view] |= changes
        write_params(Path("params.yaml"), raw)
        paths = sorted((tmp_path / "audio").iterdir())[:count]
        sources = [Source(content_sha256(path), str(path), soundfile.info(path).duration) for path in paths]
        before = folders(pool())
        build_store(open_builder(view, parameters.load()), sources, project / f"data/cache/{view}.zarr", "test", [])
        return folders(pool()) - before

    return run


def pool() -> AnyPath:
    return place(os.environ["BIRDCACHE_POOL"])


def folders(root: AnyPath) -> set[str]:
    """The folders of parts below a pool."""
    return {str(entry.folder) for entry in pool_usage(root, []).entries}


def size_of(root: AnyPath) -> int:
    return sum(file.stat().st_size for file in root.glob("*/*/**/*") if file.is_file())


def rows(told: str) -> dict[str, dict[str, float]]:
    """The table that was printed: numbers by view and column."""
    lines = re.findall(r"^(\S+(?: \S+)*?)((?: +[\d,.]+){4})$", told, re.MULTILINE)
    return {
        name: dict(zip(COLUMNS, (float(cell.replace(",", "")) for cell in cells.split()), strict=True))
        for name, cells in lines
    }


def test_a_changed_view_leaves_its_old_parts_and_exactly_these_are_freed(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    build("pcen")
    old = build("mel")
    new = build("mel", n_mels=16)
    capsys.readouterr()
    before = size_of(pool())
    cli.main(["cache", "gc", "--yes"])
    told = capsys.readouterr().out
    assert old
    assert not folders(pool()) & old
    assert folders(pool()) > new
    table = rows(told)
    (digest,) = {Path(folder).parent.name for folder in old}
    assert table[digest]["parts"] == table["total"]["parts"] == len(old)
    assert table["mel"]["kept parts"] == len(new)
    assert table["mel"]["parts"] == table["pcen"]["parts"] == table["unfinished"]["parts"] == 0
    assert table["total"]["GB"] == round((before - size_of(pool())) / 1e9, 3)
    assert f"freed {table['total']['GB']:.3f} GB in {counted(len(old), 'parts')}" in told
    for name in ("mel", "pcen"):
        verify(Store(Path(f"data/cache/{name}.zarr")))


def test_gigabytes_are_those_of_the_files(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build("mel")
    os.truncate(next(Path(os.environ["BIRDCACHE_POOL"]).rglob("c/0/0")), 3_456_000_000)  # sparse
    kept_gb = size_of(pool()) / 1e9
    cli.main(["cache", "gc"])
    assert rows(capsys.readouterr().out)["total"]["kept GB"] == pytest.approx(kept_gb, abs=5e-4)
    assert kept_gb > 3.4


def test_without_a_terminal_nothing_is_freed_unless_told(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build("mel")
    build("mel", n_mels=16)
    before = folders(pool())
    cli.main(["cache", "gc"])
    told = capsys.readouterr().out
    assert "nothing was freed: no terminal to ask for confirmation; `birdcache cache gc --yes` frees 0.0" in told
    assert folders(pool()) == before


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "no\n", "what?\n", "y\n", "YES\n"])
def test_on_a_terminal_only_a_yes_frees(
    build: Build, answer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build("mel", count=2)
    build("mel", count=2, n_mels=16)
    before = folders(pool())
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    cli.main(["cache", "gc"])
    told = capsys.readouterr().out
    assert re.search(r"free 0\.\d{3} GB in \d+ parts\? \[y/N\] ", told)
    freed = answer.lower() in ("y\n", "yes\n")
    assert folders(pool()) == (before - old if freed else before)
    assert ("nothing was freed" in told) == (not freed)


def test_what_a_build_takes_up_while_the_question_waits_is_not_freed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("mel")
    build("mel", n_mels=16)

    def answer(question: str) -> str:
        build("mel")  # flipped back, out of the parts that were shown as garbage
        return "y"

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    before = folders(pool())
    cli.main(["cache", "gc"])
    assert folders(pool()) == before
    verify(Store(Path("data/cache/mel.zarr")))


def test_store_of_another_project_keeps_its_parts(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = build("mel", project=tmp_path / "theirs")
    build("mel", n_mels=16)
    before = folders(pool())
    cli.main(["cache", "gc", "--yes"])
    assert folders(pool()) == before >= theirs
    assert "there is nothing to free" in capsys.readouterr().out
    verify(Store(tmp_path / "theirs/data/cache/mel.zarr"))


def test_removed_store_is_named_and_its_parts_are_freed(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    parts = build("mel")
    build("pcen")
    shutil.rmtree("data/cache/mel.zarr")
    cli.main(["cache", "gc", "--yes"])
    assert f"gone: {Path('data/cache/mel.zarr').absolute()}" in capsys.readouterr().out
    assert not folders(pool()) & parts
    cli.main(["cache", "gc", "--yes"])
    assert "gone:" not in capsys.readouterr().out


def test_nothing_is_freed_while_a_build_runs(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build("mel")
    build("mel", n_mels=16)
    before = folders(pool())
    with building(pool(), lambda: None), pytest.raises(SystemExit, match="1"):
        cli.main(["cache", "gc", "--yes"])
    assert "a build is writing to this pool; try again when it has finished" in capsys.readouterr().err
    assert folders(pool()) == before


def test_killed_build_loses_nothing(
    build: Build, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had parts of the old store to copy from, and new ones that are in no store yet."""
    build("mel", count=3)
    shutil.rmtree("data/cache/mel.zarr")  # as DVC does it before it runs the stage

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(spectrograms, "commit_store", killed)
        with pytest.raises(KeyboardInterrupt):
            build("mel", count=5)
    before = folders(pool())
    capsys.readouterr()
    cli.main(["cache", "gc", "--yes"])
    told = capsys.readouterr().out
    assert folders(pool()) == before
    assert "mel.zarr, whose build is unfinished: run `dvc repro` there, or remove" in told


def test_moved_project_keeps_what_its_stores_point_to(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDCACHE_POOL", f"memory://{uuid.uuid4().hex}")
    build("mel")
    Path.cwd().rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    before = folders(pool())
    cli.main(["cache", "gc", "--yes"])
    assert folders(pool()) == before
    assert "there is nothing to free" in capsys.readouterr().out


def test_remote_pool_is_freed_alike(
    build: Build, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDCACHE_POOL", f"memory://{uuid.uuid4().hex}")
    old = build("mel")
    new = build("mel", n_mels=16)
    cli.main(["cache", "gc", "--yes"])
    assert folders(pool()) == new
    assert isinstance(pool(), UPath)
    told = capsys.readouterr().out
    assert rows(told)["total"]["parts"] == len(old)
    assert "a remote pool has no lock" in told
    verify(Store(Path("data/cache/mel.zarr")))


def test_views_alike_are_named_together_and_no_pool_is_no_error(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = build("mel")
    raw = tiny_params("chorus")
    raw["views"]["twin"] = raw["views"]["mel"]
    write_params(Path("params.yaml"), raw)
    cli.main(["cache", "gc"])
    assert rows(capsys.readouterr().out)["mel, twin"]["kept parts"] == len(parts) > 0
    monkeypatch.setenv("BIRDCACHE_POOL", str(tmp_path / "none"))
    cli.main(["cache", "gc"])
    assert "none: no such pool" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
