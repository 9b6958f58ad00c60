"""Tables and texts are written whole or not at all; a lock keeps other processes out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from birdcache.files import lock, remove_tree, write_rows, write_text
from tests.fixtures.tiny import ROOT


def test_rows_are_written_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "new/table.csv"
    assert write_rows(path, ("a", "b"), iter([("1", "x, y"), ("2", 'é "z"')])) == 2
    assert path.read_bytes() == 'a,b\n1,"x, y"\n2,"é ""z"""\n'.encode()


def test_a_table_that_breaks_off_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "old\n")

    def rows() -> Iterator[tuple[str]]:
        yield ("1",)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, ("a",), rows())
    assert path.read_text() == "old\n"
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
    write_rows(path, ("a",), [("2",)])
    assert path.read_text() == "a\n2\n"


TRY = "import sys; from birdcache.files import lock; print(lock(open(sys.argv[1]), shared=sys.argv[2] == 'shared'))"


def _other_can_lock(path: Path, kind: str) -> bool:
    command = [sys.executable, "-c", TRY, str(path), kind]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_lock_keeps_other_processes_out_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file:
        assert lock(file)
        assert not _other_can_lock(path, "shared")
        assert lock(file, shared=True, wait=True)
        assert _other_can_lock(path, "shared")
        assert not _other_can_lock(path, "exclusive")
    assert _other_can_lock(path, "exclusive")


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_that_it_links_to(tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere" / "part" / "c" / "0"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"frames")
    store = tmp_path / "store"
    for name in ("parts/0/c/0", "parts/1/c/0", "index/audio", "zarr.json"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"")
    (store / "more").symlink_to(tmp_path / "elsewhere")
    (store / "parts/2").symlink_to(kept.parents[1])
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "elsewhere")
    remove_tree(store)
    remove_tree(linked)
    remove_tree(tmp_path / "nothing")
    assert not store.exists()
    assert kept.read_bytes() == b"frames"
