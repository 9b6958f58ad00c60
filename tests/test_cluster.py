"""The real thing on loopback: a Dask scheduler and two workers, and an S3 server that holds recordings and store.

Only processes of their own speak to the cluster and to S3, so that no connection outlives its test.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from birdcache.files import file_sha256
from tests.fixtures import tiny
from tests.fixtures.loopback import Loopback, finish, loopback

NEEDED = ("distributed", "s3fs", "moto", "flask", "flask_cors")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs the extras dask, s3 and test: no {', '.join(MISSING)}"),
]

VIEWS = ("mel", "pcen")
STORES = [f"{view}{kind}.zarr" for view in VIEWS for kind in ("", "-soundscapes")]
TABLES = ("recordings", "audio", "labels", "soundscapes", "soundscape_truth", "submission_labels")
READ_BOTH = """
import json, sys
import numpy as np
from pathlib import Path
from birdcache.files import sha256_hex
from cache.store import Store
from cache.remote_parts import part_places
from tests.fixtures.stores import verify

local, remote = map(Path, sys.argv[1:3])
objects = {}
for name in sys.argv[3:]:
    here, there = Store(local / name), Store(remote / name)
    assert there.is_remote and not here.is_remote
    verify(there)
    for row in range(len(here)):
        np.testing.assert_array_equal(there.read(row), here.read(row))
    for part, folder in part_places(remote / name).items():
        for file in ("zarr.json", "c/0/0"):
            objects[f"{name}/parts/{part}/{file}"] = sha256_hex((folder / file).read_bytes())
print(json.dumps(objects))
"""


@dataclass(frozen=True)
class Projects:
    """The same recordings twice, with both views built, and what the second one's stages printed."""

    local: Path  # files and processes of this machine
    remote: Path  # recordings and pool on S3, workers of a cluster
    printed: dict[str, str]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with loopback(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="module")
def projects(servers: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Projects:
    local, remote = (tmp_path_factory.mktemp(name) for name in ("local", "remote"))
    tiny.write_data(local / "chorus")
    tiny.write_params(local / "params.yaml", tiny.tiny_params("chorus"))
    servers.upload(local / "chorus", "birds/chorus")
    write_params(remote, servers)
    first = servers.start(remote, "-m", "pipeline.recordings")
    build_here(local)
    printed = {"recordings": finish(first)[0]}
    views = {view: servers.start(remote, "-m", "pipeline.spectrograms", view) for view in VIEWS}
    return Projects(local, remote, printed | {view: finish(process)[0] for view, process in views.items()})


def write_params(root: Path, servers: Loopback, **machine: object) -> None:
    raw = tiny.tiny_params("s3://birds/chorus")
    cluster = {"backend": "dask", "scheduler": servers.scheduler, "pool": "s3://birds/pool", "workers": 0}
    raw["machine"] |= cluster | machine
    tiny.write_params(root / "params.yaml", raw)


def build_here(root: Path) -> None:
    """Run the stages in this process."""
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        os.chdir(root)
        for module, *arguments in (["pipeline.recordings"], *(["pipeline.spectrograms", view] for view in VIEWS)):
            patch.setattr(sys, "argv", [module, *arguments])
            importlib.import_module(module).main()
        os.chdir(before)


def files_outside_parts(store: Path) -> dict[str, bytes]:
    names = {path.relative_to(store).as_posix(): path for path in store.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not re.match(r"parts/\w+/|elsewhere", name)}


def parts_written(printed: str) -> int:
    return sum(int(count) for count in re.findall(r"(\d+) parts? to write", printed))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_the_local_ones_but_for_where_the_files_lie(projects: Projects, name: str) -> None:
    local, remote = (
        pd.read_csv(root / f"data/tables/{name}.csv", dtype=str) for root in (projects.local, projects.remote)
    )
    if "path" in local:
        local["path"] = "s3://birds/" + local["path"]
    pd.testing.assert_frame_equal(remote, local)


def test_report_on_the_data_is_the_local_one(projects: Projects) -> None:
    local, remote = ((root / "reports/data/summary.json").read_bytes() for root in (projects.local, projects.remote))
    assert remote == local


@pytest.mark.parametrize("name", STORES)
def test_manifest_and_index_are_byte_identical_with_the_local_build(projects: Projects, name: str) -> None:
    local, remote = (files_outside_parts(root / "data/cache" / name) for root in (projects.local, projects.remote))
    assert "manifest.json" in local
    assert sum(file.startswith("index/") for file in local) == 5
    assert remote == local


def test_objects_on_s3_are_byte_identical_with_the_local_parts_and_read_alike(
    servers: Loopback, projects: Projects
) -> None:
    stores = [root / "data/cache" for root in (projects.local, projects.remote)]
    objects = json.loads(finish(servers.start(projects.remote, "-c", READ_BOTH, *stores, *STORES))[0])
    parts = {
        path.relative_to(stores[0]).as_posix(): file_sha256(path)
        for name in STORES
        for path in (stores[0] / name).glob("parts/*/**/*")
        if path.is_file()
    }
    assert len(parts) > 40
    assert objects == parts


def test_parts_were_built_by_both_workers_of_the_cluster(servers: Loopback, projects: Projects) -> None:
    tasks = servers.tasks()
    assert all(counts["build_part"] > 0 for counts in tasks)
    assert sum(counts["build_part"] for counts in tasks) == sum(map(parts_written, projects.printed.values())) > 20
    assert sum(counts["_scan_batch"] for counts in tasks) == 2


def test_second_run_decodes_nothing_and_leaves_the_same_store(servers: Loopback, projects: Projects) -> None:
    store = projects.remote / "data/cache/mel.zarr"
    before, tasks = files_outside_parts(store), servers.tasks()
    printed, _ = finish(servers.start(projects.remote, "-m", "pipeline.spectrograms", "mel"))
    assert parts_written(printed) == 0
    assert servers.tasks() == tasks
    assert files_outside_parts(store) == before


def test_workers_elsewhere_find_relative_paths_of_a_disk_that_they_share(
    servers: Loopback, projects: Projects, tmp_path: Path
) -> None:
    for name in ("chorus", "data/tables/audio.csv", "data/tables/soundscapes.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(projects.local / name)
    write_params(tmp_path, servers, pool="pool")
    printed, _ = finish(servers.start(tmp_path, "-m", "pipeline.spectrograms", "mel"))
    assert parts_written(printed) > 5
    local, shared = (root / "data/cache/mel.zarr" for root in (projects.local, tmp_path))
    assert files_outside_parts(shared) == files_outside_parts(local)
    for path in local.glob("parts/*/c/0/0"):
        assert (shared / path.relative_to(local)).read_bytes() == path.read_bytes()


def test_missing_bucket_and_missing_credentials_are_named(
    servers: Loopback, projects: Projects, tmp_path: Path
) -> None:
    write_params(tmp_path, servers, pool="s3://nowhere/pool")
    (tmp_path / "data").symlink_to(projects.remote / "data")
    nobody: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    bucket = servers.start(tmp_path, "-m", "pipeline.spectrograms", "mel")
    credentials = servers.start(tmp_path, "-m", "pipeline.recordings", **nobody)
    _, told = finish(bucket, status=1)
    assert re.match(r"error: s3://nowhere/pool: .*bucket does not exist; create the bucket, or correct mach", told)
    _, told = finish(credentials, status=1)
    assert re.match(r"error: s3://birds/chorus: cannot be reached \(NoCredentialsError.*set credentials", told)
