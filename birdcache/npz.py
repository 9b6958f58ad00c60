"""Arrays on disk: .npz files, written whole or not at all, and read as what they have to be or not at all."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from birdcache.errors import TrainError
from birdcache.files import write_durably

Array = npt.NDArray[Any]


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a compressed .npz file, the same bytes for the same arrays, or leave nothing of the attempt."""
    content = io.BytesIO()
    save: Any = np.savez_compressed  # typed as if an array could not have any name
    save(content, **arrays)
    write_durably(path, content.getvalue())


def read_npz(path: Path, kinds: Mapping[str, str], again: str) -> dict[str, Array]:
    """Read the arrays that `write_npz` wrote.

    Parameters
    ----------
    kinds : of each array by its name: NumPy's letter for its type and its number of axes, such as f2.
    again : how the file is made anew, for the TrainError if it is missing, torn, or holds anything else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            found = {name: content[name] for name in kinds}
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing; {again}") from None
    except Exception as error:  # zipfile, zlib and NumPy have a dozen kinds for bytes that are no such file
        text = f"{type(error).__name__}: {error}".strip()[:200]
        raise TrainError(f"{path}: is damaged or no .npz file of these arrays ({text}); {again}") from None
    for name, kind in kinds.items():
        if (is_kind := f"{found[name].dtype.kind}{found[name].ndim}") != kind:
            raise TrainError(f"{path}: array {name} is of kind {is_kind} instead of {kind}; {again}")
    return found
