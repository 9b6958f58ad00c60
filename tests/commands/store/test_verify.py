"""`birdcache verify`: by view, by folder, or all; bad stores are named with recordings, and the exit status tells."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from birdcache import cli
from cache.store import Store
from tests.conftest import TinyProject
from tests.fixtures.tiny import tiny_params, write_params

STORES = ["mel.zarr", "mel-soundscapes.zarr", "pcen.zarr", "pcen-soundscapes.zarr"]


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project's params, tables and stores; the current directory."""
    for name in ("params.yaml", "data/tables/audio.csv", "data/tables/soundscapes.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_project.root / name, tmp_path / name)
    shutil.copytree(tiny_project.root / "data/cache", tmp_path / "data/cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def verify(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """A function that runs the command, and gives what it said and its error."""

    def run(*arguments: str) -> tuple[str, str]:
        with suppress(SystemExit):
            cli.main(["verify", *arguments])
        told = capsys.readouterr()
        return told.out, told.err

    return run


def flip(path: Path, place: int) -> None:
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 1
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def audio_of(store: str, part: int) -> list[str]:
    """Paths of the recordings in one part."""
    opened, table = Store(Path("data/cache") / store), pd.read_csv("data/tables/audio.csv").set_index("sha256")["path"]
    return [table[sha256] for sha256, of in zip(opened.audio_sha256, opened.part, strict=True) if of == part]


@pytest.mark.parametrize(
    ("arguments", "stores"),
    [
        ((), STORES),
        (("mel",), STORES[:2]),
        (("data/cache/pcen.zarr",), STORES[2:3]),
        (("--full",), STORES),
        (("pcen", "--full"), STORES[2:]),
    ],
)
def test_good_stores_are_called_good(verify: Any, arguments: tuple[str, ...], stores: list[str]) -> None:
    out, err = verify(*arguments)
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"data/cache/{store}" for store in stores]
    how = "SHA-256" if "--full" in arguments else "CRC-32C"
    assert all(line.endswith(f"every byte as written (by {how})") for line in lines)
    assert err == ""


def test_damaged_part_is_told_with_its_recordings_and_what_mends_it(verify: Any) -> None:
    part = Store(Path("data/cache/mel.zarr")).manifest.parts[3]
    shard = f"data/cache/mel.zarr/parts/{part.name}/c/0/0"
    flip(Path(shard), 0)
    first = audio_of("mel.zarr", 3)
    out, err = verify("mel")
    lines = out.splitlines()
    assert lines[0] == f"{shard}: chunk 0 is damaged"
    assert {line.strip() for line in lines[1:-2]} == set(first)
    assert lines[-2] == "    -> run `dvc repro`, which builds again what is bad and nothing else"
    assert lines[-1].startswith("data/cache/mel-soundscapes.zarr: 1 recording")
    assert err == "error: 1 of 2 stores are not intact; the lines above say how to repair them\n"


def test_recordings_that_no_table_lists_are_told_by_their_audio(verify: Any) -> None:
    part = Store(Path("data/cache/mel.zarr")).manifest.parts[0]
    sha256 = Store(Path("data/cache/mel.zarr")).audio_sha256[0]
    Path("data/tables/audio.csv").unlink()
    flip(Path(f"data/cache/mel.zarr/parts/{part.name}/c/0/0"), 0)
    assert f"    the recording whose audio has SHA-256 {sha256}\n" in verify("mel")[0]


def test_all_bad_stores_are_told_in_one_go(verify: Any) -> None:
    flip(Path("data/cache/mel.zarr/manifest.json"), 100)
    Path("data/cache/pcen.zarr/index/spans/c/0/0").unlink()
    shutil.rmtree("data/cache/pcen-soundscapes.zarr")
    out, err = verify()
    assert "mel.zarr/manifest.json: is damaged or of another version" in out
    assert "pcen.zarr/index/spans/c/0/0: is missing, its manifest says" in out
    assert "pcen-soundscapes.zarr: has no manifest.json, so it is unfinished" in out
    assert "mel-soundscapes.zarr: 1 recording" in out
    assert "3 of 4 stores are not intact" in err


def test_store_of_another_view_or_decoder_is_not_good(verify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tiny_params("chorus")
    raw["views"]["mel"]["hop"] = 128
    write_params(Path("params.yaml"), raw)
    out, err = verify()
    assert out.count("was built for another view than params.yaml describes now; run `dvc repro`") == 2
    assert "2 of 4 stores" in err
    assert "not intact" not in verify("data/cache/mel.zarr")[1]  # a folder is only compared with itself
    monkeypatch.setattr("pipeline.builder.encode.DECODER_VERSION", "libsndfile 0.1")
    assert "was built by another front end or decoder than this one (front end" in verify("pcen")[0]


def test_store_of_no_view_is_looked_at_too(verify: Any) -> None:
    shutil.copytree("data/cache/mel.zarr", "data/cache/old.zarr")
    assert "data/cache/old.zarr: 18 recordings" in verify()[0]


@pytest.mark.parametrize("wanted", ["mle", "data/cache/mle.zarr", "data/tables/audio.csv"])
def test_unknown_store_is_refused_with_the_known_views(verify: Any, wanted: str) -> None:
    told = f"error: {wanted}: no such folder, and no such view in params.yaml; its views: mel, pcen"
    assert told in verify(wanted)[1]


def test_exit_status_tells(verify: Any) -> None:
    cli.main(["verify", "mel"])
    Path("data/cache/mel.zarr/zarr.json").unlink()
    with pytest.raises(SystemExit, match="1"):
        cli.main(["verify", "mel"])
