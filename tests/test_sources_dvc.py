"""Sources under DVC: a changed one runs what reads it and decodes what is new; a file without sources still runs."""

from __future__ import annotations

import importlib.util
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code, dvc, start_git

pytestmark = pytest.mark.slow
STAGES = ("folds", "spectrograms@mel")
NEEDED = ("s3fs", "moto", "flask", "flask_cors")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose params.yaml is of before there were sources, as far as its folds."""
    root = tmp_path_factory.mktemp("sources")
    copy_of_the_code(root)
    start_git(root)
    tiny.write_data(root / "chorus")
    for number in range(2):
        tiny.write_audio(root / f"noise/{number}.ogg", tiny.song(100, 2 + number, np.random.default_rng(number)))
    raw = tiny.tiny_params("chorus")
    del raw["data"]["sources"]
    tiny.write_params(root / "params.yaml", raw)
    dvc(root, "repro", *STAGES)
    return root


def test_an_added_and_a_changed_source_run_what_reads_them_and_decode_only_what_is_new(project: Path) -> None:
    before = pd.read_csv(project / "data/tables/recordings.csv")
    assert len(before) == 18
    raw = tiny.tiny_params("chorus")
    noise = {"layout": "files", "root": "noise", "label": "nocall", "validated": False, "knows": ["nocall"]}
    raw["data"]["sources"] = {"noise": noise}
    tiny.write_params(project / "params.yaml", raw)
    told = dvc(project, "repro", *STAGES)
    assert "Running stage 'source@noise'" in told
    assert "0.00 h of audio to decode" in told
    folds = pd.read_csv(project / "data/folds.csv").set_index("recording")["fold"]
    assert folds[["noise/0.ogg", "noise/1.ogg"]].tolist() == [-1, -1]
    assert (folds.drop(["noise/0.ogg", "noise/1.ogg"]) >= 0).all()
    assert dvc(project, "status", "source@noise", "recordings").strip() == "Data and pipelines are up to date."

    tiny.write_audio(project / "noise/deep/new.ogg", tiny.song(200, 2.5, np.random.default_rng(7)))
    told = dvc(project, "repro", *STAGES)
    ran = [line.split("'")[1] for line in told.splitlines() if line.startswith("Running stage")]
    assert ran == ["source@noise", "recordings", "spectrograms@mel", "folds"] or set(ran) == {
        "source@noise", "recordings", "folds", "spectrograms@mel"
    }  # fmt: skip
    (decoded,) = [line for line in told.splitlines() if line.startswith("spectrograms@mel:") and "decode" in line]
    assert decoded.startswith("spectrograms@mel: 1 part to write")
    assert len(pd.read_csv(project / "data/tables/recordings.csv")) == 21

    assert "Running" not in dvc(project, "repro", *STAGES)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 service with a bucket: the URL to put objects below."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    yield f"{url}/birds"
    server.stop()


def put(url: str, content: bytes) -> None:
    header = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, content, header, method="PUT"), timeout=60):
        pass


@pytest.mark.skipif(bool(MISSING), reason=f"needs the extras s3 and test: no {', '.join(MISSING)}")
def test_a_source_in_a_bucket_is_watched_and_decodes_only_what_is_new(
    project: Path, bucket: str, tmp_path: Path
) -> None:
    def put_song(name: str, tone_hz: float) -> None:
        tiny.write_audio(tmp_path / "song.ogg", tiny.song(tone_hz, 2.5, np.random.default_rng(round(tone_hz))))
        put(f"{bucket}/xc/{name}", (tmp_path / "song.ogg").read_bytes())

    put(bucket, b"")
    put_song("robin/1.ogg", 700)
    put_song("robin/2.ogg", 710)
    raw = tiny.tiny_params("chorus")
    raw["data"]["sources"] = {"xc": {"layout": "folders", "root": "s3://birds/xc"}}
    tiny.write_params(project / "params.yaml", raw)
    dvc(project, "repro", *STAGES)
    assert len(pd.read_csv(project / "data/tables/recordings.csv")) == 20
    assert "s3://birds/xc/robin/1.ogg" in set(pd.read_csv(project / "data/tables/audio.csv")["path"])
    put_song("wren/deep/3.ogg", 1700)
    told = dvc(project, "repro", *STAGES)
    assert "Running stage 'source@xc'" in told
    assert "spectrograms@mel: 1 part to write" in told, "the others are in the pool"
    assert set(pd.read_csv(project / "data/tables/labels.csv")["label"]) > {"robin", "wren"}
    assert "Running" not in dvc(project, "repro", *STAGES)
