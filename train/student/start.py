"""Stage `student_start@<member>-<fold>`: a trained model as teacher of the first round.

A copy, so that rounds depend on the models that teach and on no others.
"""

import shutil
from pathlib import Path

from birdcache.errors import TrainError, run_stage
from birdcache.params.student import START
from birdcache.stage import clear, stage_key
from train.paths import MODELS, STUDENT, split_run


def main() -> None:
    """Copy models/<member>/<fold> to data/student/start/."""
    member, fold = split_run(stage_key("base-0"))
    target = STUDENT / START / member / str(fold)
    clear(target)
    copy_model(MODELS / member / str(fold), target)


def copy_model(source: Path, target: Path) -> None:
    """Copy a trained model's files; a TrainError if there is none."""
    if not (source / "model.json").is_file():
        raise TrainError(f"{source}: holds no trained model; run `dvc repro train`")
    shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)


if __name__ == "__main__":
    run_stage(main)
