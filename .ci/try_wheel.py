"""`try_wheel.py FOLDER` imports the whole installed package, and predicts as `sample.py` did. Needs the wheel alone."""

from __future__ import annotations

import csv
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import birdcache

SCORES_WITHIN = 1e-3  # of the system that made the bundle


def main() -> None:
    """An error if a module cannot be imported, or the command or the Python API gives other detections."""
    for module in pkgutil.walk_packages(birdcache.__path__, "birdcache."):
        importlib.import_module(module.name)
    sample = Path(sys.argv[1]).resolve()
    command = [sys.executable, "-m", "birdcache.cli", "predict", "dawn.ogg", "--model", "birds.bundle"]
    subprocess.run([*command, "--threshold", "0", "--out", "found"], cwd=sample, check=True)
    wanted, found = detections(sample / "wanted"), detections(sample / "found")
    assert found.keys() == wanted.keys(), f"other detections: {sorted(found.keys() ^ wanted.keys())}"
    off = max(abs(found[key] - wanted[key]) for key in wanted)
    assert off <= SCORES_WITHIN, f"a score is off by {off}"
    windows = len(birdcache.load(sample / "birds.bundle").predict(sample / "dawn.ogg").scores)
    assert windows == len({begin for begin, _ in wanted}), windows
    print(f"{len(wanted)} detections, largest difference {off:g}")


def detections(folder: Path) -> dict[tuple[str, str], float]:
    """Score of each detection, by its begin and label."""
    with (folder / "detections.csv").open(encoding="utf-8") as file:
        return {(row["start_s"], row["label"]): float(row["score"]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
