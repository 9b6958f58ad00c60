"""A build of an embedding view that is killed outright goes on, and ends in the bytes of an undisturbed one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from birdcache.audio.read import content_sha256
from birdcache.params import load as parameters
from cache.store import Store
from cache.store_writer import commit_store
from pipeline.builder.build import Builder
from pipeline.builder.plan import Source
from pipeline.builder.teacher import stored_view
from tests.fixtures.stores import verify
from tests.fixtures.tiny import ROOT, song, write_audio
from tests.pipeline.builder.test_embedding import graph, view_of, watched_jobs, write

SECONDS = 3.0
KILLED = """
import sys
from pathlib import Path
from tests.pipeline.builder.test_killed_embedding import builder, sources_in
builder(Path(sys.argv[1])).build(sources_in(Path("clips")), "killed")
"""


def builder(pool: Path) -> Builder:
    machine = parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": 1, "device": "cpu"})
    return Builder(stored_view("x", view_of()), pool.absolute(), machine)


def sources_in(folder: Path) -> list[Source]:
    return [Source(content_sha256(path), str(path.absolute()), SECONDS) for path in sorted(folder.iterdir())]


def built(pool: Path, sources: list[Source]) -> dict[str, bytes]:
    """Build and commit a store; the content of all of its files."""
    of_view, target = builder(pool), Path(f"{pool}.zarr")
    parts, refused = of_view.build(sources, "test")
    assert not refused
    commit_store(target, of_view.view, of_view.digest, of_view.quantizer, parts)
    verify(Store(target))
    return {str(path.relative_to(target)): path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_build_that_is_killed_outright_goes_on_and_gives_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for number in range(64):
        write_audio(tmp_path / f"clips/XC{number}.ogg", song(500.0 + 30 * number, SECONDS, rng))
    write(graph())
    sources = sources_in(Path("clips"))
    command = [sys.executable, "-c", KILLED, "pool"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list(Path("pool").glob("*/[0-9a-f]*/rows.json")):
            assert process.poll() is None
        process.kill()
    jobs = watched_jobs(monkeypatch)
    files = built(Path("pool"), sources)
    assert 0 < sum(len(job.new) for job in jobs) < len(sources)
    assert files == built(Path("undisturbed"), sources)
