"""All damage of a store at once: which file, what is wrong, whose frames, and that DVC looks at it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.corruption import Corruption
from cache.shard import CHECKSUM_BYTES, checksum
from cache.store import Store
from cache.verify import Contents, find_corruption
from tests.cache.conftest import VIEW, CommittedStore

MakeCommitted = Callable[..., CommittedStore]
SHARD_0, SHARD_A = "parts/0/c/0/0", "parts/a/c/0/0"
CHUNK_BYTES = 512 * VIEW.n_mels * 2 + CHECKSUM_BYTES


def flip(path: Path, place: int) -> None:
    """Change one bit and nothing that `stat` shows, as a failing disk does."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 4
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def found(store: Path, full: bool = False) -> dict[str, tuple[str, int]]:
    """What is wrong with each file, and how many recordings it concerns."""
    corruptions = list(find_corruption(Contents(store), full))
    return {str(each.file).removeprefix(f"{store}/"): (each.what, len(each.audio)) for each in corruptions}


@pytest.mark.parametrize("full", [False, True])
def test_good_store_has_no_damage(committed: CommittedStore, full: bool) -> None:
    assert found(committed.path, full) == {}


def test_all_damage_is_listed_at_once(committed: CommittedStore) -> None:
    flip(committed.path / SHARD_0, CHUNK_BYTES + 3)
    flip(committed.path / "parts/0/zarr.json", 30)
    sizes = [(committed.path / name).stat().st_size for name in (SHARD_A, "parts/a/zarr.json")]
    (committed.path / SHARD_A).unlink()
    (committed.path / "parts/a/zarr.json").chmod(0o644)
    (committed.path / "parts/a/zarr.json").write_bytes(b"")
    assert found(committed.path) == {
        SHARD_0: ("chunk 1 is damaged", 3),
        "parts/0/zarr.json": ("its bytes have changed since it was written", 3),
        SHARD_A: (f"is missing, its manifest says {sizes[0]}", 2),
        "parts/a/zarr.json": (f"has 0 bytes, its manifest says {sizes[1]}", 2),
    }


def test_damaged_chunk_names_the_recordings_that_reach_into_it(committed: CommittedStore) -> None:
    first, second, third, *_ = committed.quantized  # 700, 3 and 512 frames
    for chunk, expected in enumerate([(first,), (first, second, third), (third,)]):
        flip(committed.path / SHARD_0, chunk * CHUNK_BYTES)
        (corruption,) = find_corruption(Contents(committed.path), full=False)
        assert (corruption.what, corruption.audio) == (f"chunk {chunk} is damaged", expected)
        flip(committed.path / SHARD_0, chunk * CHUNK_BYTES)


def test_shard_whose_index_is_damaged_is_named_once_with_all_its_recordings(committed: CommittedStore) -> None:
    flip(committed.path / SHARD_0, -1)
    assert found(committed.path) == {SHARD_0: ("its index is damaged", 3)}


def test_damaged_index_is_named_and_the_parts_are_looked_at_all_the_same(committed: CommittedStore) -> None:
    flip(committed.path / "index/spans/c/0/0", 8)
    flip(committed.path / SHARD_A, 9)
    assert found(committed.path) == {
        "index/spans/c/0/0": ("its bytes have changed since it was written", 0),
        SHARD_A: ("chunk 0 is damaged", 0),
    }


def test_only_the_full_look_compares_the_sha256_of_shards(committed: CommittedStore) -> None:
    """A chunk that somebody changed together with its checksum."""
    content = bytearray((committed.path / SHARD_0).read_bytes())
    content[5] ^= 1
    end = CHUNK_BYTES - CHECKSUM_BYTES
    content[end:CHUNK_BYTES] = checksum(bytes(content[:end]))
    (committed.path / SHARD_0).chmod(0o644)
    (committed.path / SHARD_0).write_bytes(content)
    assert found(committed.path) == {}
    assert found(committed.path, full=True) == {SHARD_0: ("its bytes have changed since it was written", 3)}


def test_file_that_the_disk_cannot_read_is_damaged(committed: CommittedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(where: Path, start: int, end: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cache.part.read_range", fail)
    assert found(committed.path)[SHARD_0] == ("cannot be read ([Errno 5] Input/output error)", 3)


def test_message_names_file_recordings_and_the_hint(tmp_path: Path) -> None:
    path = tmp_path / "0"
    path.touch()
    one, many = ("1" * 64,), tuple(str(digit) * 64 for digit in range(5))
    assert str(Corruption(path, "is bad", one).error()) == (
        f"{path}: is bad; holds 1 recording (SHA-256 of the audio: 111111111111); "
        "run `dvc repro`, which builds again what is bad and nothing else"
    )
    told = str(Corruption(path, "is bad", many).error())
    assert "holds 5 recordings (SHA-256 of the audio: 000000000000, 111111111111, 222222222222 and 2 more; " in told
    assert "`birdcache verify` lists their files)" in told


def test_dvc_looks_at_a_damaged_file_again(committed: CommittedStore) -> None:
    """It knows files by inode, time and size, of which a flipped bit changes none."""
    before = (committed.path / SHARD_0).stat()
    flip(committed.path / SHARD_0, 3)
    after = (committed.path / SHARD_0).stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    store = Store(committed.path)
    with pytest.raises(Exception, match="chunk 0 is damaged"):
        store.read(0)
    assert (committed.path / SHARD_0).stat().st_mtime_ns > after.st_mtime_ns


def test_damaged_file_of_another_user_is_mended_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert "run `dvc repro -f -s` of the stage that builds the store" in str(
        Corruption(tmp_path / "0", "is bad").error()
    )


def test_missing_file_is_mended_by_plain_repro(tmp_path: Path) -> None:
    assert "; run `dvc repro`, which" in str(Corruption(tmp_path / "gone", "is missing").error())
