"""Opening a bundle: every file compared with its checksum, then the graph in ONNX Runtime."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from birdcache.bundle.format import DESCRIPTION, MODEL, SUMS, Description, is_bundle
from birdcache.errors import CommandError
from birdcache.files import file_sha256

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory; `digest` is that of its list of checksums."""

    folder: Path
    description: Description
    session: Any
    digest: str
    device: str


def open_bundle(folder: Path, device: str = "auto") -> Bundle:
    """Check and load a bundle.

    Parameters
    ----------
    device : auto, cpu or cuda; auto takes a GPU if this ONNX Runtime can use one.

    Raises
    ------
    CommandError
        If a file is missing or has other bytes than SHA256SUMS promises, the bundle is of another version, ONNX Runtime
        is not installed, or the device cannot be used.
    """
    if not is_bundle(folder):
        raise CommandError(f"{folder}: is no bundle; name a folder that stage `export` wrote, such as birds.bundle")
    check_sums(folder)
    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_bytes())
    except ValidationError as error:
        raise CommandError(
            f"{folder / DESCRIPTION}: {error.errors()[0]['msg']}; it is of another version: export it again"
        ) from None
    session, used = open_session(folder / MODEL, device)
    return Bundle(folder, description, session, file_sha256(folder / SUMS), used)


def check_sums(folder: Path) -> None:
    """Compare each file of a bundle with its SHA-256.

    Raises
    ------
    CommandError
        If one is missing or has other bytes.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{folder / SUMS}: cannot be read ({error}); copy the bundle again") from None
    promised = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in {MODEL, DESCRIPTION} - promised.keys():
        raise CommandError(f"{folder / SUMS}: names no {name}; copy the bundle again")
    for name, digest in promised.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            state = "has other bytes than SHA256SUMS promises" if path.is_file() else "is missing"
            raise CommandError(f"{path}: {state}; copy the bundle again or export it again")


def open_session(path: Path, device: str = "auto", threads: int | None = None) -> tuple[Any, str]:
    """The graph in ONNX Runtime, and on which device.

    Parameters
    ----------
    threads : None = as many as OMP_NUM_THREADS says, else one for each core.

    Raises
    ------
    CommandError
        If ONNX Runtime is not installed, or cannot use the device.
    """
    try:
        import onnxruntime
    except ImportError:
        raise CommandError("onnxruntime is not installed, and bundles need it: pip install onnxruntime") from None
    offered = onnxruntime.get_available_providers()
    wanted = ["cuda", "cpu"] if device != "cpu" and PROVIDERS["cuda"] in offered else ["cpu"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or threads_asked_for()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=[PROVIDERS[each] for each in wanted])
    # what is offered may still lack the GPU's libraries: only the session knows what it runs on
    used = "cuda" if PROVIDERS["cuda"] in session.get_providers() else "cpu"
    if device == "cuda" != used:
        raise CommandError(
            "--device cuda: this ONNX Runtime cannot use a GPU; pip install onnxruntime-gpu instead, with CUDA's "
            "libraries, or leave it out"
        )
    return session, used


def threads_asked_for() -> int:
    """The first number in OMP_NUM_THREADS; 0 if it says nothing, which leaves the choice to ONNX Runtime."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0
