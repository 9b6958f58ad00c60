"""`birdcache kaggle`: the folder scores soundscapes where there is no network, with nothing but Python installed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import birdcache
from birdcache import cli
from commands.export.kaggle import LOCK
from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT

FILES, DURATION_S, RATE_HZ = 60, 60, 32000
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NO_NETWORK = ("unshare", "--map-root-user", "--net")  # not even to this machine
CONNECT = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"


def arguments(bundle: Path, *others: str | Path) -> list[str]:
    return ["kaggle", str(bundle), "--user", "me", "--competition", "birds-2026", *map(str, others)]


def run(*command: str | Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)],
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def pins(lock: Path) -> dict[str, str]:
    """Name of a package -> its version and hashes."""
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    return {entry.partition("==")[0]: entry for entry in entries}


def test_the_wheels_are_those_that_everything_else_is_tested_with() -> None:
    everything, own = pins(ROOT / "requirements.lock"), pins(LOCK)
    assert {"numpy", "onnxruntime", "soundfile", "tqdm"} < own.keys()
    assert "torch" not in own
    for name, entry in own.items():
        version, hashes = entry.split()[0], set(re.findall(r"sha256:\w+", entry))
        assert everything[name].startswith(version), f"{name}: run `make lock`"
        assert hashes == set(re.findall(r"sha256:\w+", everything[name])), name


def test_names_that_would_break_the_metadata_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments(tmp_path / "no.bundle", "--user", 'me", "x": "y', "--out", tmp_path / "out"))
    assert '--user me", "x": "y: is no name in Kaggle\'s addresses' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_and_wheels_that_are_missing_or_forged_are_errors_and_nothing_is_left(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "wheels").mkdir()

    def message(out: str) -> str:
        with pytest.raises(SystemExit):
            cli.main(arguments(exported.bundle, "--out", tmp_path / out, "--wheels", tmp_path / "wheels"))
        return capsys.readouterr().err

    first = pins(LOCK)["annotated-types"].split()[0]
    assert "is there already" in message("wheels")
    assert f"pip download: No matching distribution found for {first}" in message("new")
    wheel = tmp_path / f"wheels/{first.replace('==', '-').replace('-', '_', 1)}-py3-none-any.whl"
    wheel.write_bytes(b"forged")
    assert "pip download: THESE PACKAGES DO NOT MATCH THE HASHES" in message("new")
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


@pytest.mark.slow
def test_sixty_soundscapes_are_scored_without_a_network_in_a_bare_python(exported: Exported, tmp_path: Path) -> None:
    if subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no process live without a network")
    refused = subprocess.run([*NO_NETWORK, sys.executable, "-c", CONNECT], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in refused.stderr

    first, folder = tmp_path / "first", tmp_path / "kaggle"
    cli.main(arguments(exported.bundle, "--out", first, "--python", PYTHON))
    again = arguments(exported.bundle, "--out", folder, "--python", PYTHON, "--wheels", first / "data/wheels")
    run(*NO_NETWORK, sys.executable, "-m", "birdcache.cli", *again, PYTHONPATH=str(ROOT))
    wheels = {path.name: path.read_bytes() for path in (folder / "data/wheels").glob("*.whl")}
    assert len(wheels) == len(pins(LOCK)), "with birdcache's, without that of colorama, which only Windows needs"
    for name in wheels.keys() - {f"birdcache-{birdcache.__version__}-py3-none-any.whl"}:
        assert wheels[name] == (first / "data/wheels" / name).read_bytes()
    script, data = (
        json.loads((folder / name).read_text())
        for name in ("kernel/kernel-metadata.json", "data/dataset-metadata.json")
    )
    assert (script["id"], script["competition_sources"]) == ("me/birdcache-birds-predict", ["birds-2026"])
    assert script["dataset_sources"] == [data["id"]] == ["me/birdcache-birds"]
    assert not script["enable_internet"]

    competition, working = tmp_path / "input/competitions/birds-2026", tmp_path / "working"
    shutil.copytree(folder / "data", tmp_path / "input/datasets/me/birdcache-birds")
    write_soundscapes(competition / "test_soundscapes")
    shutil.copy(exported.root / "chorus/sample_submission.csv", competition)
    working.mkdir()
    run(sys.executable, "-m", "venv", tmp_path / "bare")
    begin_s = time.monotonic()
    told = run(
        *NO_NETWORK,
        *("env", "--chdir", working, tmp_path / "bare/bin/python", folder / "kernel" / script["code_file"]),
        KAGGLE_INPUT=str(tmp_path / "input"),
    )
    seconds = time.monotonic() - begin_s
    print(f"{told}\n{FILES * DURATION_S / seconds:.0f} times real time, installation included")
    assert "estimate: " in told
    assert f"{FILES} of {FILES} files are scored; 0 were not reached in time" in told
    with (working / "submission.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["row_id", "midton", "lowton", "higton"]
    assert [row[0] for row in rows[1:]] == [f"s{n:02}_{5 * w + 5}" for n in range(FILES) for w in range(12)]
    scores = np.array([row[1:] for row in rows[1:]], float)
    assert len(np.unique(scores, axis=0)) == 4 * 12, "four sounds"


def write_soundscapes(folder: Path) -> None:
    """A minute each of four noises with a tone, as 60 Ogg files."""
    folder.mkdir(parents=True)
    rng, time_s = np.random.default_rng(1), np.arange(DURATION_S * RATE_HZ) / RATE_HZ
    for number in range(FILES):
        path = folder / f"s{number:02}.ogg"
        if number < 4:
            tone = 0.1 * np.sin(2 * np.pi * (1000 + 1500 * number) * time_s) * (np.sin(time_s) > 0)
            soundfile.write(path, tone + 0.01 * rng.standard_normal(len(time_s)), RATE_HZ, "VORBIS", format="OGG")
        else:
            shutil.copy(folder / f"s{number % 4:02}.ogg", path)
