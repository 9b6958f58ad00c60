"""`birdcache report`: the metrics of the last `dvc repro` as a short table, and where its results lie."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from birdcache.errors import CommandError
from train.evaluate import print_summary

METRICS = Path("reports/metrics.json")
RESULTS = {
    "reports/report.html": "all of it on one page, to look at and listen to in a browser",
    "reports/submission.csv": "a score per label for each window of each soundscape",
    "reports/evaluate/members.md": "what each member adds to the ensemble",
    "reports/evaluate/parameters.md": "what each member is trained with, first where they differ",
    "reports/evaluate/postprocessing.md": "what each step of post-processing gains on the soundscapes",
    "reports/figures/per_class.png": "average precision of each class",
    "reports/figures/confusions.png": "what is taken for what",
    "reports/figures/soundscapes.png": "scores over time, beside the truth",
    "reports/train": "metrics of each member and fold, epoch by epoch",
    "reports/figures": "more pictures: classes, folds, spectrograms, learning curves",
    "reports/ladder.md": "what each rung of the ladder and each technique gives",
    "reports/export.md": "the bundle beside the pipeline: sizes, speeds, differences",
    "reports/data/summary.json": "the data set",
    "reports/data/refused.csv": "files that are left out, why, and the way out",
}


def run(arguments: argparse.Namespace) -> None:
    """Print the table and the paths.

    Raises
    ------
    CommandError
        If nothing has been evaluated yet.
    """
    if not METRICS.is_file():
        raise CommandError(f"{METRICS}: is missing; run `dvc repro`")
    print_summary(json.loads(METRICS.read_text()))
    print()
    for path, meaning in RESULTS.items():
        if Path(path).exists():
            print(f"{path:<26} {meaning}")
