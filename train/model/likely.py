"""The network that a file of weights is likely to be of, where it is not of the one that it was named for."""

import difflib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import timm
from torch import Tensor

from train.model.sizes import create, trial

SEARCH_S = 10.0  # that a search may take
CERTAIN, LIKELY = 0.99, 0.5  # shares of tensors that are alike

Shapes = Mapping[str, tuple[int, ...]]


def likely_backbone(path: Path, stored: Mapping[str, Tensor]) -> str:
    """A hint such as "97 % of its tensors are those of resnet26; ", or nothing if no network of timm is alike.

    Networks are compared whose names are like the file's or its folder's; then those whose first convolution has a name
    that the file has: one of each family, and all of the two families that are most alike.
    """
    end, shapes = time.monotonic() + SEARCH_S, {name: tuple(tensor.shape) for name, tensor in stored.items()}
    shares: dict[str, tuple[float, float]] = {}
    for name in _candidates(path, shapes, shares):
        if name not in shares:
            shares[name] = _shares(name, shapes)
        if shares[name][0] >= CERTAIN or time.monotonic() > end:
            break
    best = max(shares, key=lambda each: shares[each], default="")
    return f"{shares[best][0]:.0%} of its tensors are those of {best}; " if best and shares[best][0] >= LIKELY else ""


def _candidates(path: Path, shapes: Shapes, shares: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    known = timm.list_models()
    for told in (path.stem.split(".")[0].lower(), path.parent.name.split(".")[0].lower()):
        yield from sorted((name for name in known if told.startswith(name)), key=len, reverse=True)[:2]
        yield from difflib.get_close_matches(told, known, n=2)
    ends = {key[place:] for key in shapes for place in _places(key)}
    families = [
        [name for name in timm.list_models(module=each) if _stem_of(name) in ends] for each in timm.list_modules()
    ]
    families = [names for names in families if names]
    for names in families:
        yield names[0]
    for names in sorted(families, key=lambda names: -shares[names[0]][1])[:2]:
        yield from names


def _stem_of(name: str) -> str:
    told = timm.get_pretrained_cfg(name)
    first = told.first_conv if told else None
    return f"{first if isinstance(first, str) else (first or ('',))[0]}.weight"


def _places(key: str) -> list[int]:
    """Where a name may begin, if something stands before it."""
    return [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]


def _shares(name: str, shapes: Shapes) -> tuple[float, float]:
    """Shares of a network's and a file's tensors that both have, by names and shapes, and by names alone."""
    with trial("meta"):
        own: Shapes = {key: tuple(tensor.shape) for key, tensor in create(name, {}).state_dict().items()}
    count, alike, named = Counter[str](), Counter[str](), Counter[str]()  # by what stands before the names
    for key, shape in shapes.items():
        for end in _places(key):
            count[key[:end]] += 1
            named[key[:end]] += key[end:] in own
            alike[key[:end]] += own.get(key[end:]) == shape
    prefix = max(named, key=lambda each: (alike[each], named[each]), default="")
    return tuple(found[prefix] / (len(own) + count[prefix] - found[prefix]) for found in (alike, named))  # type: ignore[return-value]
