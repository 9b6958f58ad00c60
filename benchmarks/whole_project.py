"""A whole project of the size of a competition: seconds and peak memory of each stage, and what `plan` foretold.

In a clone of this checkout, in a folder of its own: short recordings of noise and chirps, soundscapes of a minute, and
one training epoch of the smallest network on one fold of five. It runs once, once more, and with 1 % more recordings as
far as their folds. Memory is the sum over a stage's processes of what each holds (RSS, which counts shared pages in
each), looked at twice a second.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.timing import ROOT, parser_of, report
from pipeline.synthetic.ogg import ogg_vorbis, with_serial

RATE_HZ, SHORTEST_S, LONGEST_S, SOUNDSCAPE_S = 32_000, 2.0, 4.0, 60.0
CLASSES, AUTHORS, DISTINCT = 206, 900, 100
STAGE = re.compile(r"Running stage '(.+)':")


def main() -> None:
    """Make the project, run it three times, and print what each stage took."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--recordings", type=int, default=28_000)
    parser.add_argument("--soundscapes", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where to make the project; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report(measure(arguments, (arguments.folder or Path(temporary)) / "project"), arguments.json)


def measure(arguments: argparse.Namespace, project: Path) -> dict[str, float]:
    """All numbers, by names such as `first: train@base-0, s`."""
    subprocess.run(["git", "clone", "--quiet", ROOT, project], check=True)
    count, more = arguments.recordings, arguments.recordings // 100
    write_recordings(project / "data" / "birds", range(count))
    write_soundscapes(project / "data" / "birds" / "test_soundscapes", arguments.soundscapes)
    call(project, "birdcache.cli", "init", "--birdclef", "data/birds", "--backbone", "test_efficientnet")
    shorten(project / "params.yaml")
    call(project, "birdcache.cli", "plan")
    found = {f"first: {key}": value for key, value in run(project).items()}
    found |= {f"again: {key}": value for key, value in run(project).items()}
    write_recordings(project / "data" / "birds", range(count, count + more))
    return found | {f"1 % more: {key}": value for key, value in run(project, "folds").items()}


def write_recordings(data: Path, numbers: range) -> None:
    """Recordings, and their rows of train.csv, behind those of earlier calls."""
    for number in range(CLASSES):
        (data / "train_audio" / f"bird{number}").mkdir(parents=True, exist_ok=True)
    labels = [f"bird{number % CLASSES}" for number in numbers]
    names = [f"{label}/XC{number}.ogg" for label, number in zip(labels, numbers, strict=True)]
    Parallel(n_jobs=-1)(
        delayed(write_chirps)(data / "train_audio" / name, number, np.random.default_rng(number))
        for name, number in zip(names, numbers, strict=True)
    )
    authors = [f"author {number % AUTHORS}" for number in numbers]
    rows = pd.DataFrame({"primary_label": labels, "secondary_labels": "[]", "author": authors, "filename": names})
    table = data / "train.csv"
    rows.to_csv(table, mode="a", header=not table.exists(), index=False)


def write_soundscapes(folder: Path, count: int) -> None:
    """Soundscapes of a minute; those behind the first `DISTINCT` sound like these, under other serial numbers."""
    folder.mkdir(parents=True)
    paths = [folder / f"soundscape_{number}.ogg" for number in range(count)]
    Parallel(n_jobs=-1)(
        delayed(write_chirps)(path, number, np.random.default_rng(10**6 + number), True)
        for number, path in enumerate(paths[:DISTINCT])
    )
    for number, path in enumerate(paths[DISTINCT:]):
        path.write_bytes(with_serial(paths[number % DISTINCT].read_bytes(), 10**6 + number))


def write_chirps(path: Path, number: int, rng: np.random.Generator, is_soundscape: bool = False) -> None:
    """A file of chirps, whose pitch tells the class, in noise."""
    seconds = SOUNDSCAPE_S if is_soundscape else rng.uniform(SHORTEST_S, LONGEST_S)
    time_S = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 1000 + 50 * (number % CLASSES)
    chirp_S = 0.2 * np.sin(2 * np.pi * (pitch_hz * time_S + rng.uniform(50, 200) * np.sin(rng.uniform(3, 9) * time_S)))
    path.write_bytes(ogg_vorbis((chirp_S + 0.02 * rng.standard_normal(len(time_S))).astype(np.float32), RATE_HZ))


def shorten(params: Path) -> None:
    """Have one fold trained for one epoch."""
    text = re.sub(r"train: \[[\d, ]+\]", "train: [0]", params.read_text())
    params.write_text(re.sub(r"(\bwarmup_epochs:) \d+", r"\1 0", re.sub(r"(\bepochs:) \d+", r"\1 1", text)))


def call(project: Path, module: str, *arguments: str) -> None:
    """Run one of the project's commands."""
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=project, check=True)


def run(project: Path, *targets: str) -> dict[str, float]:
    """Run `dvc repro`: seconds of it and of each stage, and the largest memory of each in GB."""
    command = [sys.executable, "-u", "-m", "dvc", "repro", *targets]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    begin_s = time.perf_counter()
    lines = []
    with Watch(process.pid) as watch:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if stage := STAGE.search(line):
                watch.enter(stage[1])
    if process.wait():
        raise SystemExit("".join(["dvc repro failed:\n", *lines[-20:]]))
    return {"all, s": time.perf_counter() - begin_s, **watch.found()}


class Watch:
    """Seconds and largest memory of what a process and its children do, stage by stage."""

    def __init__(self, pid: int) -> None:
        import psutil  # which training needs not

        self.process, self.ended = psutil.Process(pid), psutil.NoSuchProcess
        self.stages = [("before the first stage", time.perf_counter())]
        self.bytes: dict[str, int] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()
        self.enter("end")

    def enter(self, stage: str) -> None:
        """The stage begins now."""
        self.stages.append((stage, time.perf_counter()))
        print(f"{time.strftime('%X')} {stage}", flush=True)

    def found(self) -> dict[str, float]:
        """Seconds and gigabytes of each stage."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        seconds = {f"{stage}, s": until_s - since_s for (stage, since_s), (_, until_s) in pairs}
        return seconds | {f"{stage}, GB": most / 1e9 for stage, most in self.bytes.items()}

    def _look(self) -> None:
        while not self.over.wait(0.5):
            stage = self.stages[-1][0]
            self.bytes[stage] = max(self.bytes.get(stage, 0), self._held())

    def _held(self) -> int:
        held = 0
        try:
            for each in [self.process, *self.process.children(recursive=True)]:
                held += each.memory_info().rss
        except self.ended:  # while it was looked at
            pass
        return held


if __name__ == "__main__":
    main()
