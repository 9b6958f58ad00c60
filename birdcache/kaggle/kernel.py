"""Scores a competition's hidden soundscapes without internet; `birdcache kaggle` copies this script into its folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MINUTES, PROCESSES = 85, 4  # Kaggle gives 90 minutes and 4 threads
INPUT = Path(os.environ.get("KAGGLE_INPUT", "/kaggle/input"))
WHEELS = "birdcache.txt"


def folder_of(name: str) -> str:
    """The folder in which an input holds a file; Kaggle mounts inputs at different depths."""
    found = (path for depth in range(1, 6) for path in INPUT.glob("*/" * depth + name))
    if path := next(found, None):
        return str(path.parent)
    sys.exit(f"{INPUT}: no input holds {name}; add the data set or the competition to the notebook")


if __name__ == "__main__":
    wheels, library = folder_of(WHEELS), tempfile.mkdtemp()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--require-hashes"]
    subprocess.run([*install, "--target", library, "--find-links", wheels, "-r", f"{wheels}/{WHEELS}"], check=True)
    score = [sys.executable, "-m", "birdcache.kaggle.run", folder_of("bundle.json"), folder_of("sample_submission.csv")]
    subprocess.run([*score, str(MINUTES), str(PROCESSES)], env=os.environ | {"PYTHONPATH": library}, check=True)
