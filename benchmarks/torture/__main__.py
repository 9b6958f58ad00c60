"""All trials at full size: prints a table and writes reports/torture.json. Run as `python -m benchmarks.torture`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.torture import bad_among_good, mutated_ogg, truncated
from benchmarks.torture.outcome import Outcome

REPORT = Path("reports/torture.json")
TRIALS: tuple[Callable[[], Outcome], ...] = (mutated_ogg.trial, truncated.trial, bad_among_good.trial)


def main() -> None:
    """Run the trials one after another; the exit status says whether all held."""
    outcomes = []
    for trial in TRIALS:
        outcomes.append(trial())
        last = outcomes[-1]
        print(
            f"{last.name:<28} {last.failed:>4} of {last.tried:>6} failed; worst: {last.worst}; {last.figure}",
            flush=True,
        )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps({each.name: asdict(each) for each in outcomes}, indent=2) + "\n")
    sys.exit(any(each.failed for each in outcomes))


if __name__ == "__main__":
    main()
