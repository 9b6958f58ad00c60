"""`birdcache ladder`: train and measure the rungs of params.yaml; finished trainings are kept by DVC."""

import argparse
import subprocess
import sys
from pathlib import Path

from birdcache.errors import CommandError
from birdcache.params import load as parameters
from birdcache.params.model import Params

PIPELINE = Path("optional/dvc.yaml")
RESULTS = ("reports/ladder.md", "reports/ladder.png", "reports/ladder.csv")


def run(_: argparse.Namespace) -> None:
    """Run the stages of the ladder and whatever they need; a CommandError if there are none, or one failed."""
    params = parameters.load()
    ladder = params.ladder
    if not PIPELINE.is_file():
        raise CommandError(f"{PIPELINE}: no such file; run this in a checkout of birdcache")
    if not ladder.rungs:
        raise CommandError("params.yaml: ladder.rungs is empty; add rungs, such as those that `birdcache init` writes")
    check_rungs(params)
    count = len(ladder.trained) * len(ladder.seeds) * len(ladder.folds)
    print(f"{count} trainings: {len(ladder.trained)} rungs and ablations, {len(ladder.seeds)} seeds", flush=True)
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", f"{PIPELINE}:ladder"], check=False)
    if done.returncode:
        raise CommandError("the ladder stopped early; fix the cause shown above, then run the same command to continue")
    print("\n".join(path for path in RESULTS if Path(path).is_file()))


def check_rungs(params: Params) -> None:
    """Try the networks of rungs and ablations before anything is trained; a CommandError if some cannot be built."""
    from commands.project.check import tried_networks

    kind_of = {run: "rungs" if run in params.ladder.rungs else "ablations" for run in params.ladder.trained}
    runs = ((f"ladder.{kind}.{run}", params.ladder.member(run)) for run, kind in kind_of.items())
    _, problems = tried_networks(params, runs)
    if problems:
        raise CommandError("\n".join(problems))
