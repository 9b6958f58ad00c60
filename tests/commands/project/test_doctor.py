"""`birdcache doctor` where recordings or pool lie behind URLs, and where a cluster is asked for."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from birdcache import cli
from tests.fixtures import tiny

Consult = Callable[..., list[str]]


@pytest.fixture
def consult(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Consult:
    """A function that runs the command in a project with this machine section and data root; returns its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIRDCACHE_POOL", raising=False)
    MemoryFileSystem.store.clear()
    monkeypatch.setattr("commands.project.doctor._dvc", lambda: iter(()))

    def run(root: str = "chorus", status: int = 0, **machine: str) -> list[str]:
        raw = tiny.tiny_params(root)
        raw["machine"] |= machine
        tiny.write_params(tmp_path / "params.yaml", raw)
        with pytest.raises(SystemExit, match="1") if status else nullcontext():
            cli.main(["doctor"])
        return capsys.readouterr().out.splitlines()

    return run


def test_local_pool_is_tried_for_links_and_no_url_is_looked_at(consult: Consult) -> None:
    lines = consult()
    assert any("stores are hard links into the pool .birdcache/pool" in line for line in lines)
    assert not any("can be read" in line or "extra" in line for line in lines)


def test_remote_pool_is_reached_and_not_tried_for_links(consult: Consult, tmp_path: Path) -> None:
    lines = consult(pool="memory://bucket/pool")
    assert "ok    memory://bucket/pool can be read" in lines
    assert not any("links" in line for line in lines)
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "annotations", "species", "teachers"}


def test_environment_names_the_pool_before_params_do(consult: Consult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDCACHE_POOL", "memory://other/pool")
    assert "ok    memory://other/pool can be read" in consult(pool="memory://bucket/pool")


def test_remote_recordings_must_be_there(consult: Consult) -> None:
    url = "memory://bucket/chorus"
    assert any(line.startswith(f"bad   {url}: no such folder; correct data.root") for line in consult(url, status=1))
    (UPath(url) / "train.csv").write_bytes(b"")
    assert f"ok    {url} can be read" in consult(url)


def test_pool_that_does_not_answer_is_named(consult: Consult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "find", refuse)
    lines = consult(pool="memory://bucket/pool", status=1)
    assert any(line.startswith("bad   memory://bucket/pool: cannot be reached (PermissionError") for line in lines)
    assert "      -> see docs/cluster.md" in lines


@pytest.mark.parametrize("is_missing", [False, True])
@pytest.mark.parametrize(("extra", "package"), [("dask", "distributed"), ("s3", "dvc-s3")])
def test_extras_are_asked_for_where_params_need_them(
    consult: Consult, monkeypatch: pytest.MonkeyPatch, extra: str, package: str, is_missing: bool
) -> None:
    def version(name: str) -> str:
        if is_missing and name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr("commands.project.doctor._urls", lambda *_: iter(()))
    machine = {"backend": "dask"} if extra == "dask" else {"pool": "s3://bucket/pool"}
    lines = consult(status=int(is_missing), **machine)
    if is_missing:
        assert f"bad   params.yaml needs {package}" in lines
        assert f'      -> pip install "birdcache[{extra}]"' in lines
    else:
        assert any(line.startswith("ok ") and line.endswith(f"{package} 1.0 (extra {extra})") for line in lines)
