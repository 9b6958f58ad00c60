"""The gain of annotated times: the demo's member `base`, trained on labels of whole recordings or on times.

The demo knows when each of its birds sings. Three arms, each with several seeds, on all folds: `weak`, the labels of
train.csv; `times` of every song in all recordings; `weak_and_soundscapes`, weak labels and the songs of the soundscapes
without truth. All draw the same number of clips per epoch. Metrics are those of the soundscapes with truth, which no
arm trains on.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from benchmarks.timing import ROOT, SHIPPED, parser_of, report
from birdcache.params import load as parameters
from pipeline.synthetic.plan import DemoPlan, plan_demo
from pipeline.synthetic.scene import HEARD_S, Scene

DEMO, MEMBER, CLIPS = "dawn", "base", 165  # clips per epoch: one of each training recording
METRICS = ("macro_roc_auc", "cmap")
Row = tuple[str, float, float, str]


def main() -> None:
    """Train all arms; print means and deviations over the seeds; write JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    plan = plan_demo(parameters.load(SHIPPED).demo[DEMO])
    arms = {"weak": [], "times": times_of_recordings(plan), "weak_and_soundscapes": times_of_soundscapes(plan)}
    numbers: dict[str, Any] = {}
    for name, rows in arms.items():
        with tempfile.TemporaryDirectory() as folder:
            found = [measure(Path(folder), rows, seed) for seed in arguments.seeds]
        numbers[f"{name}_times"] = len(rows)
        for metric in METRICS:
            values = [each[metric] for each in found]
            numbers |= {
                f"{name}_{metric}": float(np.mean(values)),
                f"{name}_{metric}_sd": float(np.std(values, ddof=1)),
            }
    report(numbers, arguments.json)


def times_of_recordings(plan: DemoPlan) -> list[Row]:
    """Songs in the recordings."""
    return [row for each in plan.recordings for row in songs(f"train_audio/{each.filename}", each.scene)]


def times_of_soundscapes(plan: DemoPlan) -> list[Row]:
    """Songs in the soundscapes without truth."""
    return [row for each in plan.unlabelled for row in songs(f"test_soundscapes/{each.name}.ogg", each.scene)]


def songs(file: str, scene: Scene) -> Iterator[Row]:
    """File, start and end in seconds, and label of each audible song."""
    for singer in scene.singers:
        for song in singer.songs:
            end_s = min(song.end_s, scene.duration_s)
            if end_s - song.start_s >= HEARD_S:
                yield file, round(song.start_s, 3), round(end_s, 3), singer.species.label


def measure(project: Path, rows: Iterable[Row], seed: int) -> dict[str, float]:
    """Train all folds with one seed; the metrics on soundscapes. Later seeds reuse the project's stores."""
    write_params(project, seed)
    if not (project / "data").exists():
        write_annotations(project / "annotations", rows)
        run(project, "pipeline.demo", DEMO)
        run(project, "pipeline.recordings")
        run(project, "pipeline.spectrograms", "mel")
        run(project, "pipeline.folds")
    run(project, "train.members", MEMBER)
    for fold in parameters.load(project / "params.yaml").folds.train:
        run(project, "train.fit", f"{MEMBER}-{fold}")
    for stage in ("train.predict", "train.submit", "train.evaluate"):
        run(project, stage)
    found = json.loads((project / "reports/metrics.json").read_text())["soundscapes"]["ensemble"]
    print(f"seed {seed}: {found}", flush=True)
    return {metric: found[metric] for metric in METRICS}


def write_params(project: Path, seed: int) -> None:
    """Write the shipped params.yaml with one member, which draws CLIPS clips per epoch."""
    yaml = YAML()
    document: Any = yaml.load(SHIPPED.read_text(encoding="utf-8"))
    document["members"] = {MEMBER: document["members"][MEMBER]}
    document["members"][MEMBER]["override"] = {"seed": seed, "sampling": {"clips_per_epoch": CLIPS}}
    with (project / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def write_annotations(folder: Path, rows: Iterable[Row]) -> None:
    """Write a table like those of `birdcache predict`, without scores."""
    folder.mkdir()
    with (folder / "songs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "start_s", "end_s", "label"])
        writer.writerows(rows)


def run(project: Path, module: str, *arguments: str) -> None:
    """Run a stage of this code in the project; show its output if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{module} {' '.join(arguments)}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
