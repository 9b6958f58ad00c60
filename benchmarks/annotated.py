"""What do annotated times give? The demo's member `base`, trained on labels of whole recordings, or on times.

The demo knows when each of its birds sings. Three arms, each with several seeds, on all folds: `weak` labels as in
train.csv; `times` of every song in all recordings; `weak_and_soundscapes`, weak labels and the songs of the soundscapes
that have no truth. All draw as many clips an epoch. Measured on the soundscapes with a truth, which no arm trains on.
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

from benchmarks.timing import parser_of, report
from birdcache.params import load as parameters
from pipeline.synthetic.plan import Plan, plan_demo
from pipeline.synthetic.scene import HEARD_S, Scene

ROOT = Path(__file__).parent.parent
DEMO, MEMBER, CLIPS = "dawn", "base", 165  # clips an epoch: one of each recording that is trained on
METRICS = ("macro_roc_auc", "cmap")
Row = tuple[str, float, float, str]


def main() -> None:
    """Train, print means and spreads over the seeds, write JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    plan = plan_demo(parameters.load(ROOT / "params.yaml").demo[DEMO])
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


def times_of_recordings(plan: Plan) -> list[Row]:
    """When each bird sings in each recording."""
    return [row for each in plan.recordings for row in songs(f"train_audio/{each.filename}", each.scene)]


def times_of_soundscapes(plan: Plan) -> list[Row]:
    """When each bird sings in each soundscape without a truth."""
    return [row for each in plan.unlabelled for row in songs(f"test_soundscapes/{each.name}.ogg", each.scene)]


def songs(file: str, scene: Scene) -> Iterator[Row]:
    """File, beginning and end in seconds, and label of each song that can be heard."""
    for singer in scene.singers:
        for song in singer.songs:
            end_s = min(song.end_s, scene.duration_s)
            if end_s - song.start_s >= HEARD_S:
                yield file, round(song.start_s, 3), round(end_s, 3), singer.species.label


def measure(project: Path, rows: Iterable[Row], seed: int) -> dict[str, float]:
    """Metrics of the soundscapes, after training all folds with a seed; a project is made once and then used again."""
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
    """The project's own params.yaml with one member, which draws so many clips an epoch."""
    yaml = YAML()
    document: Any = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["members"] = {MEMBER: document["members"][MEMBER]}
    document["members"][MEMBER]["override"] = {"seed": seed, "sampling": {"clips_per_epoch": CLIPS}}
    with (project / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def write_annotations(folder: Path, rows: Iterable[Row]) -> None:
    """A table as `birdcache predict` writes it, without scores."""
    folder.mkdir()
    with (folder / "songs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "start_s", "end_s", "label"])
        writer.writerows(rows)


def run(project: Path, module: str, *arguments: str) -> None:
    """Run a stage in the project, with this code; its words are shown where it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{module} {' '.join(arguments)}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
