"""What decides a training: a digest of each thing, so that nothing else is ever gone on with."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pydantic import BaseModel

from birdcache.files import canonical_json, file_sha256, sha256_hex

ROOT = Path(__file__).parents[2]
CODE = ("cache", "train")  # packages whose code changes numbers


def digest(value: Any) -> str:
    """SHA-256 of a pydantic model, a dataclass of arrays and names, or anything that JSON has."""
    if isinstance(value, BaseModel):
        return sha256_hex(canonical_json(value.model_dump(mode="json")))
    if isinstance(value, np.ndarray):
        return sha256_hex(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    if hasattr(value, "__dataclass_fields__"):
        return sha256_hex(canonical_json({each.name: digest(getattr(value, each.name)) for each in fields(value)}))
    return sha256_hex(canonical_json(value))


def environment() -> dict[str, str]:
    """The code that this process has loaded, and the versions of the libraries that compute."""
    paths = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = sorted(Path(path).relative_to(ROOT) for path in paths if path and _is_ours(Path(path)))
    code = {path.as_posix(): file_sha256(ROOT / path) for path in files}
    return {"code": digest(code), "torch": torch.__version__.split("+")[0], "timm": timm.__version__}


def key_of(training: dict[str, str]) -> str:
    """A short name for a training."""
    return digest(training)[:16]


def _is_ours(path: Path) -> bool:
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in CODE
