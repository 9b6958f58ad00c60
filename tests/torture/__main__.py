"""`make torture`: every trial at full size; prints a table and writes reports/torture.json.

A trial is named on the command line to run it alone, `--tried N` makes it longer or shorter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.torture import (
    bad_among_good,
    bombs,
    checkpoint_flips,
    flips,
    killed_trainings,
    kills,
    mutated_frames,
    mutated_ogg,
    strangers,
    truncated,
)
from tests.torture.outcome import Outcome

REPORT = Path("reports/torture.json")
TRIALS: dict[str, Callable[..., Outcome]] = {
    "mutated-ogg": mutated_ogg.trial,
    "mutated-frames": mutated_frames.trial,
    "truncated": truncated.trial,
    "bad-among-good": bad_among_good.trial,
    "strangers": strangers.trial,
    "bombs": bombs.trial,
    "kills": kills.trial,
    "flips": flips.trial,
    "killed-trainings": killed_trainings.trial,
    "checkpoint-flips": checkpoint_flips.trial,
}


def main() -> None:
    """Run the trials; fail if one of them did."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"of {', '.join(TRIALS)}; default: all")
    parser.add_argument("--tried", type=int, metavar="N", help="how often each is tried, default: as often as it says")
    arguments = parser.parse_args()
    chosen = arguments.trials or list(TRIALS)
    size = {} if arguments.tried is None else {"tried": arguments.tried}
    outcomes = []
    for name in chosen:
        outcomes.append(TRIALS[name](**size))
        print(line(outcomes[-1]), flush=True)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2) + "\n")
    raise SystemExit(any(outcome.failed for outcome in outcomes))


def line(outcome: Outcome) -> str:
    """A row of the table."""
    worst = f"; worst: {outcome.worst}" if outcome.worst else ""
    return f"{outcome.name:<24} {outcome.tried:>7,} tried, {outcome.failed} failed: {outcome.figure}{worst}"


if __name__ == "__main__":
    main()
