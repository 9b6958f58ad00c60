"""`birdcache ladder`: trains and measures the rungs that params.yaml names. DVC keeps what is finished."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from birdcache.errors import CommandError
from birdcache.params import load as parameters

PIPELINE = Path("ladder/dvc.yaml")
RESULTS = ("reports/ladder.md", "reports/ladder.png", "reports/ladder.csv")


def run(_: argparse.Namespace) -> None:
    """Run `dvc repro ladder/dvc.yaml`, and all that it needs before.

    Raises
    ------
    CommandError
        If there is no ladder to run, or a stage of it failed.
    """
    ladder = parameters.load().ladder
    if not PIPELINE.is_file():
        raise CommandError(f"{PIPELINE}: no such file; run birdcache in the project's folder")
    if not ladder.rungs:
        raise CommandError("params.yaml: ladder.rungs is empty; name its rungs, as `birdcache init` writes them")
    count = len(ladder.trained) * len(ladder.seeds) * len(ladder.folds)
    print(f"{count} trainings: {len(ladder.trained)} rungs and ablations, {len(ladder.seeds)} seeds", flush=True)
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", str(PIPELINE)], check=False)
    if done.returncode:
        raise CommandError("the ladder is not finished; once the cause is mended, the same command goes on from here")
    print("\n".join(path for path in RESULTS if Path(path).is_file()))
