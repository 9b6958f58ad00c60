"""Paths that this package's stages read and write, relative to the project's root, and reading of JSON among them."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from birdcache.errors import TrainError

MEMBERS, MODELS = Path("data/members"), Path("models")
CHECKED = Path("data/checked.txt")
SCORES, SUBMISSION = Path("data/soundscape_scores.npz"), Path("reports/submission.csv")
ENSEMBLE, THRESHOLDS = Path("data/ensemble.json"), Path("reports/thresholds.csv")
REPORTS, TRAINING_REPORTS, EVALUATION = (Path("reports", name) for name in ("", "train", "evaluate"))
LADDER_MEMBERS, LADDER_MODELS, LADDER_RUNS = (Path("data/ladder") / name for name in ("members", "models", "runs"))
LADDER_REPORTS = Path("reports/ladder")
TRAININGS = Path(".birdcache/trainings")  # finished ones, kept in case a change is undone
STUDENT, STUDENT_REPORTS = Path("data/student"), Path("reports/student")
Model = TypeVar("Model", bound=BaseModel)


def store_path(view: str, soundscapes: bool = False) -> Path:
    """The store of a view's recordings, or of its soundscapes."""
    return Path("data/cache") / f"{view}{'-soundscapes' if soundscapes else ''}.zarr"


def split_run(key: str, example: str = "base-0") -> tuple[str, int]:
    """'base-0' -> ('base', 0): a member and fold, or a run of the ladder and its seed; a TrainError for other forms."""
    name, _, number = key.rpartition("-")
    if not name or not (number.isascii() and number.isdigit()):
        raise TrainError(f"{key!r}: must be a name, a hyphen and a number, such as {example}")
    return name, int(number)


def read_json(kind: type[Model], path: Path, if_missing: str, if_wrong: str) -> Model:
    """Read a file that a stage wrote; a TrainError, with a way out, if it is missing or not of this version."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing; {if_missing}") from None
    except ValidationError as error:
        raise TrainError(f"{path}: {error.errors()[0]['msg']}; {if_wrong}") from None
