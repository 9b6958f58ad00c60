"""Fair timing on a noisy machine: arms take turns in one process; ratios are taken within each round."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "params.yaml"


def interleaved(arms: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each arm in each round; each arm is warmed up once."""
    for arm in arms.values():
        arm()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            begin = time.perf_counter()
            arm()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over the rounds of numerator / denominator."""
    return float(np.median(np.divide(numerator, denominator)))


def best(seconds: list[float]) -> float:
    """The fastest round: other work on a shared machine only ever adds time."""
    return min(seconds)


def parser_of(description: str) -> argparse.ArgumentParser:
    """A parser of the arguments of all benchmarks, `--json FILE` and `--rounds N`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def parse_arguments(description: str) -> argparse.Namespace:
    """The command line of a benchmark that has no other arguments."""
    return parser_of(description).parse_args()


def report(numbers: Mapping[str, Any], path: Path | None) -> None:
    """Print the numbers; write them as JSON with a description of the machine if a path is given."""
    for name, value in numbers.items():
        print(f"{name:<28} {value:,.3f}" if isinstance(value, float) else f"{name:<28} {value}")
    if path is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        path.write_text(json.dumps({**machine, **numbers}, indent=2) + "\n")
