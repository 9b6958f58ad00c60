"""Paths that this package's stages read and write, relative to the project's root."""

from __future__ import annotations

from pathlib import Path

MEMBERS, MODELS = Path("data/members"), Path("models")
CHECKED = Path("data/checked.txt")
SCORES, SUBMISSION = Path("data/soundscape_scores.npz"), Path("reports/submission.csv")
ENSEMBLE, THRESHOLDS = Path("data/ensemble.json"), Path("reports/thresholds.csv")
REPORTS, TRAINING_REPORTS, EVALUATION = (Path("reports", name) for name in ("", "train", "evaluate"))
FIGURES = REPORTS / "figures"
LADDER_MEMBERS, LADDER_MODELS, LADDER_RUNS = (Path("data/ladder") / name for name in ("members", "models", "runs"))
LADDER_REPORTS = Path("reports/ladder")
STUDENT, STUDENT_REPORTS = Path("data/student"), Path("reports/student")


def store_path(view: str, soundscapes: bool = False) -> Path:
    """The store of a view's recordings, or of its soundscapes."""
    return Path("data/cache") / f"{view}{'-soundscapes' if soundscapes else ''}.zarr"
