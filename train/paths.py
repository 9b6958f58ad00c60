"""Where this package's stages read and write, relative to the project's root."""

from __future__ import annotations

from pathlib import Path

RECORDINGS, LABELS, FOLDS = Path("data/recordings.csv"), Path("data/labels.csv"), Path("data/folds.csv")
SOUNDSCAPES, TRUTH = Path("data/soundscapes.csv"), Path("data/soundscape_truth.csv")
SUBMISSION_LABELS = Path("data/submission_labels.csv")
MEMBERS, MODELS = Path("data/members"), Path("models")
SCORES, SUBMISSION = Path("data/soundscape_scores.npz"), Path("reports/submission.csv")
REPORTS, TRAINING_REPORTS = Path("reports"), Path("reports/train")


def store_path(view: str, soundscapes: bool = False) -> Path:
    """Where a view's store of recordings, or of soundscapes, lies."""
    return Path("data/cache") / f"{view}{'-soundscapes' if soundscapes else ''}.zarr"
