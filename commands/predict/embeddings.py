"""Embeddings of all files' windows as a zarr group. N window of all files, E feature."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from birdcache.errors import CommandError
from birdcache.files import temporary_name
from birdcache.predict.predictor import FileScores

CHUNK_WINDOWS = 512
ARRAYS, ATTRIBUTES = ("embedding", "file", "start_s"), ("files", "window_s", "model")


def check_embeddings(path: Path) -> None:
    """Refuse, by a CommandError, to overwrite anything but embeddings, and to start without zarr."""
    try:
        import zarr  # noqa: F401
    except ImportError:
        raise CommandError("--embeddings: needs zarr; install it with `pip install zarr`") from None
    if path.exists() and not _is_ours(path):
        raise CommandError(f"--embeddings {path}: exists and holds something else; choose another path")


def write_embeddings(path: Path, files: Iterable[tuple[Path, FileScores]], window_s: float, model: str) -> str:
    """Write `embedding` [N, E] float32 with `file` [N] and `start_s` [N]; attribute `files` names the files.

    The group appears at its path once it is complete.
    """
    import zarr

    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    group = zarr.open_group(temporary, mode="w")
    names: list[str] = []
    for name, scores in files:
        features_WE = scores.embedding
        assert features_WE is not None
        if not names:
            kinds = {"embedding": ("float32", features_WE.shape[1:]), "file": ("int32", ()), "start_s": ("float64", ())}
            for array, (dtype, row) in kinds.items():
                group.create_array(array, shape=(0, *row), chunks=(CHUNK_WINDOWS, *row), dtype=dtype)
        windows = np.arange(len(features_WE))
        group["embedding"].append(features_WE)  # type: ignore[union-attr]
        group["file"].append(np.full(len(windows), len(names), np.int32))  # type: ignore[union-attr]
        group["start_s"].append(windows * window_s)  # type: ignore[union-attr]
        names.append(str(name))
    group.attrs.update(dict(zip(ATTRIBUTES, (names, window_s, model), strict=True)))
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    return f"{path}: embeddings of the windows of {len(names)} file(s)"


def _is_ours(path: Path) -> bool:
    """True if a folder holds only embeddings."""
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return set(attributes) == set(ATTRIBUTES) and {each.name for each in path.iterdir()} <= {*ARRAYS, "zarr.json"}
