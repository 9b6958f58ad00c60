"""Single bits that flip in checkpoints of a training and in trained models, as on a failing disk.

Each must be noticed and its file be named. Of a training, the checkpoint before must be taken instead, whole.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import torch

from birdcache.errors import TrainError
from tests.torture.outcome import Outcome
from tests.torture.trainings import CHECKPOINTS, TRAINING, copy_project, finish, kill_after, make_project, start
from train.loop.checkpoint import CheckpointFolder, read_record
from train.model.weights import read_model, read_sidecar

NAME = "flips in checkpoints"
CPU = torch.device("cpu")


def trial(tried: int = 500, seed: int = 1, project: Path | None = None) -> Outcome:
    """Flip so many bits, one at a time, and look what reading says."""
    rng, worst = np.random.default_rng(seed), list[str]()
    with tempfile.TemporaryDirectory() as name:
        project = project or make_project(Path(name) / "project")
        trained, killed = (copy_project(project, Path(name) / each) for each in ("trained", "killed"))
        finish(start(trained, *TRAINING))
        kill_after(killed, start(killed, *TRAINING), 8, 0.0)
        (folder,) = (killed / CHECKPOINTS).iterdir()
        model = trained / "models/base/0"
        newest = max(path for path in folder.glob("[0-9]*"))
        files = [path for path in (*newest.iterdir(), *model.iterdir()) if path.suffix in (".json", ".safetensors")]
        for _ in range(tried):
            path = files[int(rng.integers(len(files)))]
            bit = int(rng.integers(path.stat().st_size * 8))
            flip(path, bit)
            if said := unnoticed_in_model(model, path) if path.parent == model else unnoticed_in_training(folder, path):
                worst.append(f"bit {bit} of {path.relative_to(name)}: {said}")
            flip(path, bit)
    figure = f"{tried - len(worst)} noticed and their file named, in {len(files)} files of a checkpoint and a model"
    return Outcome(NAME, tried, len(worst), worst[0] if worst else "", figure)


def flip(path: Path, bit: int) -> None:
    """Flip a bit of a file, in place."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (value,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([value ^ 1 << bit % 8]))


def unnoticed_in_training(folder: Path, path: Path) -> str:
    """What went wrong when a training with a damaged checkpoint is to go on; the checkpoint is put back."""
    before = sorted(folder.glob("[0-9]*"))[-2]
    checkpoints = CheckpointFolder(folder, 3, read_record(before)["training"])
    with redirect_stderr(io.StringIO()) as told:
        found = checkpoints.newest()
    aside = folder / f"damaged-{path.parent.name}"
    if not aside.is_dir() or found is None:
        return "read as if it were whole"
    aside.rename(path.parent)
    if found[0] != before:
        return f"{found[0].name} was taken instead of {before.name}"
    return "" if str(path) in told.getvalue() else f"named another file: {told.getvalue()}"


def unnoticed_in_model(folder: Path, path: Path) -> str:
    """What went wrong when a damaged model is read."""
    try:
        read_model(folder, read_sidecar(folder), path.stem if path.suffix == ".safetensors" else "last", CPU)
    except TrainError as error:
        return "" if str(path) in str(error) else f"named another file: {error}"
    return "read as if it were whole"
