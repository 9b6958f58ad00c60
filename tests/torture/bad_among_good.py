"""Trial: one file in twenty is bad; exactly those are listed, and the store is as if they had never been there.

Both stages run as the pipeline runs them, in two projects: one with the bad files, one without.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile
from ruamel.yaml import YAML

from tests.torture.ogg_files import sound, without_page
from tests.torture.outcome import Outcome

Run = Callable[..., None]
ROOT = Path(__file__).parents[2]
RATE_HZ = 16_000
SHARE = 0.05
VIEW = "mel"
SMALL = {"sample_rate_hz": RATE_HZ, "n_fft": 512, "hop": 256, "n_mels": 32, "fmax_hz": RATE_HZ // 2}


def good(seed: int, seconds: float = 1.0) -> bytes:
    """A good recording, another for each seed."""
    return sound(seconds, RATE_HZ, 1, "VORBIS", seed)


def encoded(samples_S: npt.NDArray[np.float64], container: str, subtype: str) -> bytes:
    """Samples in another format."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples_S, RATE_HZ, format=container, subtype=subtype)
    return buffer.getvalue()


def flipped(content: bytes) -> bytes:
    """One bit of the last page is another."""
    return content[:-300] + bytes([content[-300] ^ 4]) + content[-299:]


NOISE_S = 0.1 * np.random.default_rng(1).standard_normal(RATE_HZ)
HOLE_S = np.where(np.arange(RATE_HZ) == 9_999, np.nan, NOISE_S)
BAD: dict[str, tuple[str, Callable[[int], bytes]]] = {  # kind: code, and the bytes of a file
    "empty.ogg": ("empty", lambda seed: b""),
    "page.ogg": ("not-audio", lambda seed: b"<html>404 not found</html>"),
    "cut.ogg": ("truncated", lambda seed: good(seed)[:-1000]),
    "flipped.ogg": ("damaged", lambda seed: flipped(good(seed))),
    "lost.ogg": ("damaged", lambda seed: without_page(good(seed, 3), 3)),
    "chained.ogg": ("chained", lambda seed: good(seed) + good(seed + 10_000)),
    "open.ogg": ("no-end", lambda seed: without_page(good(seed, 3), -1)),
    "short.ogg": ("too-short", lambda seed: good(seed, 0.2)),
    "cut.wav": ("truncated", lambda seed: encoded(NOISE_S, "WAV", "PCM_16")[: 20_000 + seed]),
    "aiff.wav": ("wrong-codec", lambda seed: encoded(NOISE_S * seed / 1e5, "AIFF", "PCM_16")),
    "silent.wav": ("silent", lambda seed: encoded(np.zeros(RATE_HZ + seed), "WAV", "PCM_16")),
    "hole.wav": ("not-finite", lambda seed: encoded(np.append(HOLE_S, seed / 1e5), "WAV", "FLOAT")),
    "loud.wav": ("damaged", lambda seed: encoded(NOISE_S * (20_000 + seed), "WAV", "FLOAT")),
    "cut.flac": ("damaged", lambda seed: encoded(NOISE_S, "FLAC", "PCM_16")[: 20_000 + seed]),
}


def trial(tried: int = 400, run: Run | None = None) -> Outcome:
    """Build a store of so many files, of which one in twenty is bad, and one of the good ones alone.

    `run` runs a stage (project, module, arguments); by default in a process of its own, as DVC does.
    """
    run = run or run_stage
    with tempfile.TemporaryDirectory() as folder:
        soiled, clean = Path(folder) / "soiled", Path(folder) / "clean"
        expected = _write_projects(soiled, clean, tried)
        for project in (soiled, clean):
            run(project, "pipeline.recordings")
            run(project, "pipeline.spectrograms", VIEW)
        problems = _differences(_listed(soiled), expected)
        problems += [f"listed though good: {path}" for path in _listed(clean)]
        stored = _files(soiled / f"data/cache/{VIEW}.zarr")
        if stored != _files(clean / f"data/cache/{VIEW}.zarr"):
            problems.append("the stores differ")
    counts = ", ".join(f"{code} {count}" for code, count in sorted(Counter(expected.values()).items()))
    figure = f"{len(expected)} bad: {counts}; {len(stored)} files of the store compared"
    return Outcome("bad files among good ones", tried, len(problems), problems[0] if problems else "none", figure)


def _write_projects(soiled: Path, clean: Path, count: int) -> dict[str, str]:
    """Write both projects; the code under which each bad file must be refused."""
    expected: dict[str, str] = {}
    kinds = list(BAD.items())
    bad = set(np.linspace(0, count - 1, math.ceil(SHARE * count)).astype(int).tolist())
    for number in range(count):
        label = f"bird{number % 7}"
        for project in (soiled, clean):
            (project / "data/sounds" / label).mkdir(parents=True, exist_ok=True)
        if number in bad:
            kind, (code, content) = kinds[len(expected) % len(kinds)]
            path = f"data/sounds/{label}/XC{number}-{kind}"
            expected[path] = code
            (soiled / path).write_bytes(content(number))
        else:
            path = f"data/sounds/{label}/XC{number}.ogg"
            (soiled / path).write_bytes(good(number, 0.8 + number % 9 / 10))
            shutil.copy(soiled / path, clean / path)
    for project in (soiled, clean):
        _write_params(project / "params.yaml")
        (project / "annotations").mkdir(exist_ok=True)
    return expected


def _write_params(path: Path) -> None:
    yaml = YAML(typ="safe", pure=True)
    raw = yaml.load((ROOT / "params.yaml").read_text())
    raw["data"] |= {"layout": "folders", "root": "data/sounds"}
    raw["data"] |= {"soundscapes": None, "soundscape_truth": None, "soundscape_labels": None}
    for view in raw["views"].values():
        view |= SMALL
    raw["machine"] |= {"workers": 1, "pool": "pool"}
    with path.open("w") as file:
        yaml.dump(raw, file)


def run_stage(project: Path, module: str, *arguments: str) -> None:
    """Run a stage in a project.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("BIRDCACHE_POOL", None)
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module}: ended with status {done.returncode}: {done.stderr}")


def _listed(project: Path) -> dict[str, str]:
    """The code of each file that the two stages refused."""
    tables = [pd.read_csv(project / "reports" / name / "refused.csv") for name in ("data", f"spectrograms/{VIEW}")]
    return {file: code for table in tables for file, code in zip(table["file"], table["code"], strict=True)}


def _differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    paths = sorted(found.keys() | expected.keys())
    return [
        f"{path}: {found.get(path, 'not listed')}, expected {expected.get(path, 'none')}"
        for path in paths
        if found.get(path) != expected.get(path)
    ]


def _files(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}
