"""Tensors of a file of weights, of which nothing but data is read."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from birdcache.errors import TrainError


def read_tensors(path: Path, where: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a checkpoint of torch.

    Those in dictionaries of a checkpoint have names such as `state_dict.conv.weight`.

    A TrainError if the file is neither, or holds more than data.
    """
    with path.open("rb") as file:
        begin = file.read(64)
    try:
        # zip archives and pickles begin so, and a safetensors file may: with the length of its header, then with {
        if begin[8:9] == b"{" or not begin.startswith((b"PK", b"\x80")):
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # the options in checkpoints of timm
            return dict(_flat(torch.load(path, map_location="cpu", weights_only=True)))
    except Exception as error:
        kind = "a pointer of Git LFS" if begin.startswith(b"version https://git-lfs") else "no file of weights"
        kind = "a web page" if begin.lstrip().startswith(b"<") else kind
        said = " ".join(str(error).split())[:300]
        raise TrainError(
            f"{where}: {path} is {kind} ({said}); download it again, or save the network's state_dict() with "
            "safetensors.torch.save_file"
        ) from None


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value.detach()
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}" if name else str(key))


def check_values(where: str, tensors: Mapping[str, Tensor], way_out: str = "take other weights") -> None:
    """Refuse weights that are NaN or infinite, by a TrainError that names the first tensor of such."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and (count := int((~torch.isfinite(tensor.float())).sum())):
            raise TrainError(
                f"{where}: {count} of {tensor.numel()} values of tensor {name} are NaN or infinite, so the file is "
                f"damaged or its training failed; {way_out}"
            )
