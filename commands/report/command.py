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
    "reports/members.md": "what each member adds to the ensemble",
    "reports/parameters.md": "what each member is trained with, first where they differ",
    "reports/postprocessing.md": "what each step of post-processing gains on the soundscapes",
    "reports/per_class.png": "average precision of each class",
    "reports/confusions.png": "what is taken for what",
    "reports/soundscapes.png": "scores over time, beside the truth",
    "reports/train": "learning curves of each member and fold",
    "reports/spectrograms": "what the stores hold",
    "reports/ladder.md": "what each rung of the ladder and each technique gives",
    "reports/export.md": "the bundle beside the pipeline: sizes, speeds, differences",
    "reports/data.json": "the data set",
    "reports/refused.csv": "files that are left out, why, and the way out",
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
