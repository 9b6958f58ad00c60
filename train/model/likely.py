"""The network that a file of weights is likely to be of, where it is not of the one that it was named for."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import timm
from torch import Tensor

from train.model.sizes import create, trial

LIKELY = 0.5  # share of tensors that are alike

Shapes = Mapping[str, tuple[int, ...]]


def likely_backbone(path: Path, stored: Mapping[str, Tensor]) -> str:
    """A hint such as "97 % of its tensors are those of resnet26; ", or nothing if no network of timm is alike.

    Networks are compared whose names are like the file's or its folder's.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    shares = {name: _share(name, shapes) for name in dict.fromkeys(_candidates(path))}
    best = max(shares, key=shares.__getitem__, default="")
    return f"{shares[best]:.0%} of its tensors are those of {best}; " if shares.get(best, 0) >= LIKELY else ""


def _candidates(path: Path) -> Iterator[str]:
    known = timm.list_models()
    for told in (path.stem.split(".")[0].lower(), path.parent.name.split(".")[0].lower()):
        yield from sorted((name for name in known if told.startswith(name)), key=len, reverse=True)[:2]
        yield from difflib.get_close_matches(told, known, n=2)


def _share(name: str, shapes: Shapes) -> float:
    """Share of a network's and a file's tensors that both have, by names, after whatever begins all, and shapes."""
    with trial("meta"):
        own: Shapes = {key: tuple(tensor.shape) for key, tensor in create(name, {}).state_dict().items()}
    count, alike = Counter[str](), Counter[str]()  # by what stands before the names
    for key, shape in shapes.items():
        for end in beginnings(key):
            count[key[:end]] += 1
            alike[key[:end]] += own.get(key[end:]) == shape
    prefix = max(alike, key=alike.__getitem__, default="")
    return alike[prefix] / (len(own) + count[prefix] - alike[prefix])


def beginnings(key: str) -> list[int]:
    """Where a tensor's own name may begin, if something stands before it."""
    return [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]
