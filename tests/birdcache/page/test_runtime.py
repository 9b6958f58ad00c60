"""onnxruntime-web: taken from a file, from the cache or by npm, and only with the bytes that are expected."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from birdcache.errors import CommandError
from birdcache.page import runtime as module
from birdcache.page.runtime import NEEDED, PACKAGE, SHA512, TARBALL, cached_tarball, runtime_files


def tarball(path: Path) -> Path:
    """Write a tarball with the needed files and another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name in (*NEEDED, "ort.webgpu.mjs"):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return path


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program called npm first, which does what a script says; the cache folder is an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def install(script: str) -> Path:
        (tmp_path / "bin").mkdir()
        path = tmp_path / "bin/npm"
        path.write_text(f"#!/bin/sh\necho called $* >> {tmp_path}/calls\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
        return tmp_path / "calls"

    return install


def accept(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Make the digest of a tarball the expected one."""
    monkeypatch.setattr(module, "SHA512", hashlib.sha512(path.read_bytes()).hexdigest())


def test_only_the_needed_files_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarball(tmp_path / "x.tgz")
    accept(monkeypatch, path)
    assert runtime_files(path, False) == {name: name.encode() for name in NEEDED}


def test_a_tarball_with_another_digest_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tarball(tmp_path / "x.tgz")
    with pytest.raises(CommandError, match=rf"x\.tgz: is not what npm gives as {PACKAGE}: .*; remove it and run"):
        runtime_files(path, False)
    path.write_bytes(b"no tarball at all")
    with pytest.raises(CommandError, match=rf"its SHA-512 is [0-9a-f]{{16}}\.\.\., not {SHA512[:16]}\.\.\."):
        runtime_files(path, True)


def test_where_there_is_none_the_error_holds_the_command(npm: Callable[[str], Path]) -> None:
    calls = npm("")
    with pytest.raises(CommandError) as caught:
        runtime_files(None, False)
    assert str(cached_tarball()) in str(caught.value)
    assert "add --fetch" in str(caught.value)
    assert f"`npm pack {PACKAGE}`" in str(caught.value)
    assert f"--runtime {TARBALL}" in str(caught.value)
    assert not calls.exists(), "nothing is fetched unasked"


def test_npm_fetches_it_once_into_the_cache(
    npm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tarball(tmp_path / "good.tgz")
    accept(monkeypatch, good)
    calls = npm(f"cp {good} {TARBALL}")
    assert runtime_files(None, True).keys() == set(NEEDED)
    assert cached_tarball().read_bytes() == good.read_bytes()
    assert runtime_files(None, True).keys() == runtime_files(None, False).keys() == set(NEEDED)
    assert calls.read_text() == f"called pack {PACKAGE} --ignore-scripts --silent\n"


def test_what_npm_fetches_is_checked_and_not_kept(npm: Callable[[str], Path], tmp_path: Path) -> None:
    npm(f"cp {tarball(tmp_path / 'bad.tgz')} {TARBALL}")
    with pytest.raises(CommandError, match="is not what npm gives"):
        runtime_files(None, True)
    assert not cached_tarball().exists()


def test_npm_that_fails_or_is_missing_is_told(npm: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    npm("echo no network >&2; exit 1")
    with pytest.raises(CommandError, match=r"fails \(no network\); see whether there is a network"):
        runtime_files(None, True)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match=r"npm is not installed; install Node\.js, or run `npm pack"):
        runtime_files(None, True)


def test_the_real_one_holds_what_is_needed(runtime: Path) -> None:
    files = runtime_files(runtime, False)
    assert b"ONNX Runtime Web v1.24.3" in files["ort.wasm.bundle.min.mjs"][:200]
    assert files["ort-wasm-simd-threaded.wasm"].startswith(b"\0asm")
