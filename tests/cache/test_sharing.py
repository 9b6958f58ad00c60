"""A pool of two people: what one adds the other can use, complete and clean up; a pool for reading is used as it is."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from birdcache.errors import StoreError
from birdcache.files import writing
from cache.gc import address_of, read_roots, write_root
from cache.locks import alone, building, is_read_only
from cache.pool import LocalPool, PooledPart, discard, link_part
from cache.shard import Layout
from tests.fixtures.parts import add_part

LAYOUT = Layout(mel_bins=8, dtype="uint8", fill=255, compression="none")
DIGEST, BIRDS = "ab" * 32, 61000
ANN, BOB, EVE = 61001, 61002, 61003  # Eve is not in the group
FIRST, SECOND = ["1" * 64], ["2" * 64]

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as several people"
)


def acting_as(user: int, group: int, work: Callable[[], object]) -> None:
    """Do some work as another user, in a child of this process, with the usual umask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of numpy, which the child does not use
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(0o022)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, with a pool for the group; pytest's own folders are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    (folder / "pool").mkdir()
    os.chown(folder / "pool", ANN, BIRDS)
    (folder / "pool").chmod(0o2775)
    yield folder
    shutil.rmtree(folder)


def add(pool: Path, keys: list[str]) -> PooledPart:
    with building(pool, LocalPool(pool, DIGEST).sweep):
        part = add_part(LocalPool(pool, DIGEST), LAYOUT, keys, [np.full((3, 8), 7, np.uint8)])
        write_root(pool, pool.parent / f"{os.getuid()}.zarr", [address_of(part.folder)], is_finished=True)
    return part


def test_two_people_of_a_group_build_into_one_pool(place: Path) -> None:
    pool = place / "pool"
    acting_as(ANN, BIRDS, lambda: add(pool, FIRST))
    acting_as(BOB, BIRDS, lambda: add(pool, SECOND))
    assert len(LocalPool(pool, DIGEST).parts()) == 2
    assert {Path(root.store).name for root in read_roots(pool)} == {f"{ANN}.zarr", f"{BOB}.zarr"}
    folders = [path for path in pool.rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o7777 for path in folders} == {0o2775}
    assert {path.stat().st_gid for path in pool.rglob("*")} == {BIRDS}


def test_one_uses_the_parts_of_the_other_and_cleans_them_up(place: Path) -> None:
    pool = place / "pool"
    acting_as(ANN, BIRDS, lambda: add(pool, FIRST))

    def use() -> None:
        part = LocalPool(pool, DIGEST).find(FIRST)
        assert part is not None
        link_part(part, place / "store")
        assert (place / "store/c/0/0").read_bytes()

    def clean() -> None:
        with alone(pool):
            (part,) = LocalPool(pool, DIGEST).parts()
            assert isinstance(part.folder, Path)
            discard(part.folder)

    acting_as(BOB, BIRDS, use)
    acting_as(BOB, BIRDS, clean)
    assert LocalPool(pool, DIGEST).parts() == []


def test_a_pool_of_one_person_stays_private(place: Path) -> None:
    (place / "pool").chmod(0o700)
    acting_as(ANN, BIRDS, lambda: add(place / "pool", FIRST))
    assert {path.stat().st_mode & 0o077 for path in (place / "pool").rglob("*") if path.is_dir()} == {0}


def test_a_pool_that_can_only_be_read_is_used_and_never_written(place: Path) -> None:
    pool = place / "pool"
    acting_as(ANN, BIRDS, lambda: add(pool, FIRST))
    before = sorted(pool.rglob("*"))

    def use() -> None:
        assert is_read_only(pool)
        with building(pool, lambda: pytest.fail("nothing to sweep")):
            part = LocalPool(pool, DIGEST).find(FIRST)
            assert part is not None
            write_root(pool, place / "eve.zarr", [address_of(part.folder)], is_finished=True)

    acting_as(EVE, EVE, use)
    assert sorted(pool.rglob("*")) == before


def test_a_damaged_part_of_a_pool_that_can_only_be_read_counts_as_missing(place: Path) -> None:
    pool = place / "pool"
    acting_as(ANN, BIRDS, lambda: add(pool, FIRST))
    (shard,) = pool.rglob("c/0/0")
    shard.chmod(0o644)
    shard.write_bytes(bytes(shard.stat().st_size))

    def look() -> None:
        assert LocalPool(pool, DIGEST).find(FIRST) is None

    acting_as(EVE, EVE, look)
    assert shard.is_file()


def test_permission_that_is_denied_is_told_with_the_owner_and_never_as_a_full_disk(place: Path) -> None:
    (place / "pool").chmod(0o755)

    def write() -> None:
        with pytest.raises(StoreError) as told, writing(place / "reports"):
            (place / "pool/new").mkdir()
        assert "Permission denied" in str(told.value)
        assert f"{place / 'pool/new'}: cannot be written" in str(told.value)
        assert "free" not in str(told.value)
        assert "have its owner allow it, or use another folder" in str(told.value)

    acting_as(BOB, BIRDS, write)
