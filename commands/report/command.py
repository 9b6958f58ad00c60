"""`birdcache report`: the metrics of the last `dvc repro` as a short table, and the paths of its results."""

import argparse
import json
from pathlib import Path

from birdcache.errors import CommandError
from train.evaluate import print_summary

METRICS = Path("reports/metrics.json")
RESULTS = {
    "reports/report.html": "everything on one page with pictures and sounds, for a browser",
    "reports/submission.csv": "a score per label for each window of each soundscape",
    "reports/thresholds.csv": "threshold of each class, and its precision and recall there",
    "reports/evaluate/members.md": "gain of each member in the ensemble",
    "reports/evaluate/parameters.md": "parameters of the members, those that differ first",
    "reports/evaluate/postprocessing.md": "gain of each step of post-processing on the soundscapes",
    "reports/activity.csv": "detections of each class by site, day and hour",
    "reports/train": "metrics of each member and fold, epoch by epoch",
    "reports/ladder.md": "gain of each rung of the ladder and of each technique",
    "reports/export.md": "bundle and pipeline compared: size, speed, scores",
    "reports/data/summary.json": "the data set",
    "reports/data/refused.csv": "files that are left out, with reasons and hints",
    "reports/data/notes.csv": "files that are used although something about them is odd",
}


def run(arguments: argparse.Namespace) -> None:
    """Print the table and the paths; a CommandError if nothing has been evaluated yet."""
    if not METRICS.is_file():
        raise CommandError(f"{METRICS}: is missing; run `dvc repro`")
    print_summary(json.loads(METRICS.read_text()))
    print()
    width = max(map(len, RESULTS))
    for path, meaning in RESULTS.items():
        if Path(path).exists():
            print(f"{path:<{width}}  {meaning}")
