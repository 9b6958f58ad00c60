"""Files of arrays: whole or not at all, and a damaged or foreign one is told in words."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birdcache.errors import TrainError
from birdcache.npz import Array, read_npz, write_npz
from tests.fixtures.tiny import ROOT

ARRAYS = {"names": np.array(["a", "b"]), "scores": np.linspace(0, 1, 600, dtype=np.float32).reshape(2, 300)}
KINDS = {"names": "U1", "scores": "f2"}


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    content = io.BytesIO()
    save: Any = np.savez_compressed
    save(content, **arrays)
    return content.getvalue()


def npy() -> bytes:
    content = io.BytesIO()
    np.save(content, ARRAYS["scores"])
    return content.getvalue()


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_npz(tmp_path / "new/a.npz", ARRAYS)
    found = read_npz(tmp_path / "new/a.npz", KINDS, "make it")
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert npz_bytes(ARRAYS) == (tmp_path / "new/a.npz").read_bytes(), "the same arrays, the same bytes"


def test_an_old_file_stays_when_the_new_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "a.npz", ARRAYS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("birdcache.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_npz(tmp_path / "a.npz", {"names": np.array(["c"])})
    monkeypatch.undo()
    assert read_npz(tmp_path / "a.npz", KINDS, "")["names"].tolist() == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (npz_bytes(ARRAYS)[:-30], "is damaged"),
        (npz_bytes(ARRAYS)[:200], "is damaged"),
        (npz_bytes(ARRAYS)[:400] + bytes(40) + npz_bytes(ARRAYS)[440:], "is damaged"),
        (b"", "is damaged"),
        (b"no such file", "is damaged"),
        (b"PK\x03\x04" + bytes(100), "is damaged"),
        (npy(), "is damaged"),
        (npz_bytes({"names": ARRAYS["names"]}), "KeyError: 'scores"),
        (npz_bytes({**ARRAYS, "names": np.array([1, 2])}), "names is of kind i1 instead of U1"),
        (npz_bytes({**ARRAYS, "scores": np.zeros(2)}), "scores is of kind f1 instead of f2"),
        (npz_bytes({**ARRAYS, "names": np.array([{}, 1], object)}), "allow_pickle=False"),
    ],
)
def test_a_torn_or_foreign_file_is_told_in_words(tmp_path: Path, content: bytes, rule: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(TrainError, match=rule) as caught:
        read_npz(tmp_path / "a.npz", KINDS, "run `dvc repro`")
    assert str(caught.value).startswith(f"{tmp_path / 'a.npz'}: ")
    assert str(caught.value).endswith("; run `dvc repro`")


def test_a_missing_file_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"a.npz: is missing; make it"):
        read_npz(tmp_path / "a.npz", KINDS, "make it")


def test_files_are_written_durably_everywhere() -> None:
    """Files of a folder that is itself replaced once it is complete may be written as they come."""
    short = {"write_text", "write_bytes", "savez", "savez_compressed", "savefig"}
    in_a_new_folder = {"cache/part.py", "cache/store_writer.py", "cache/part_writer.py", "pipeline/synthetic/scene.py"}
    to_memory = {
        "birdcache/figures.py",
        "birdcache/npz.py",
        "commands/report/charts.py",
    }
    others = {"cache/gc.py": "an object in a bucket"}
    found = set()
    for package in ("birdcache", "cache", "pipeline", "train", "commands"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in short:
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == in_a_new_folder | to_memory | set(others)
