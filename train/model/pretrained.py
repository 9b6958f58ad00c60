"""A backbone's first weights: out of a file of any project, or out of a model that was trained here.

Names of tensors become timm's by taking off what stands before all of them (`module.`, `state_dict.model.`, ...), and
by timm's own conversion of what a family's authors published, or by `train.model.module_order`.

Source: weights learnt on other labels, without their head, as in Yosinski et al. 2014.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from operator import itemgetter
from typing import Any, NamedTuple

from timm.layers import resample_abs_pos_embed  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn import functional

from birdcache.errors import TrainError
from train.model.module_order import in_order
from train.model.sizes import Size
from train.model.weight_file import check_values, read_tensors
from train.model.weight_source import Trained, WeightSource

BACKBONE = "backbone."  # what names of a trained model's tensors begin with, but for those of its head and statistics
COMMON = 0.2  # of a file's tensors may be the network's, the others an optimiser's

State = dict[str, Tensor]


class Taken(NamedTuple):
    """What a backbone takes of a file, and what it leaves."""

    tensors: State  # by the backbone's names, as they are in the file
    renamed: list[str]  # by more than taking off what stands before all names
    adapted: list[str]  # in shape
    left: list[str]  # of all that the file holds
    told: str  # in words


def check_source(source: WeightSource, backbone: str, where: str) -> None:
    """Refuse a model, or imported weights, of another backbone before anything is built.

    A TrainError, which names both, if it was.
    """
    known = source.trained or source.origin
    if known and known.backbone != backbone:
        raise TrainError(
            f"{where}: was {'trained' if source.trained else 'imported'} with backbone {known.backbone}, but this "
            f"member has {backbone}; name the same backbone, or another source"
        )


@contextmanager
def conversions(wanted: bool) -> Iterator[list[Any]]:
    """Have timm hand over its functions that convert published weights, where it would load weights."""
    builder: Any = import_module("timm.models._builder")
    load, functions = builder.load_pretrained, list[Any]()
    if wanted:
        builder.load_pretrained = lambda *_, filter_fn=None, **__: functions.append(filter_fn)
    try:
        yield functions
    finally:
        builder.load_pretrained = load


def take_weights(
    backbone: nn.Module, source: WeightSource, filters: list[Any], channels: int, size: Size | None, where: str
) -> Taken:
    """Copy weights into a backbone, but for those of its head.

    A TrainError if tensors are missing, of other shapes, NaN or infinite.

    Parameters
    ----------
    filters : as of `conversions`.
    channels : of the backbone's images.
    size : mel bins and frames that the backbone is made for; None if it takes any.
    """
    stored, own = read_tensors(source.path, where), backbone.state_dict()
    head = tuple(f"{name}." for name in _configured(backbone, "classifier"))
    fresh = (*head, *_lost_parts(backbone, stored, source.trained))
    wanted = {name for name in own if not name.startswith(fresh) and not name.endswith("num_batches_tracked")}
    prefix, state = _named_as(wanted, stored, partial(_converted, backbone, filters), where)
    named = {name: state[name] for name in own.keys() & state.keys() if not name.startswith(head)}
    stems = {f"{name}.weight" for name in _configured(backbone, "first_conv")}
    taken = {
        name: _stem(tensor, own[name], channels) if name in stems else _resized(name, tensor, own[name], size)
        for name, tensor in named.items()
    }
    fit = {name: tensor for name, tensor in taken.items() if tensor.shape == own[name].shape}
    left = sorted(state.keys() - taken.keys())
    unused = [name for name in left if not name.startswith(head)]
    own_layers = {re.sub(r"\d+", "0", name) for name in own}
    more_layers = [name for name in unused if re.sub(r"\d+", "0", name) in own_layers]
    if unfit := sorted(wanted - taken.keys()) or sorted(wanted - fit.keys()) or more_layers:
        count = f"{len(unfit)} of {len(wanted)}"
        lack = f"lacks {count} tensors" if wanted - taken.keys() else f"has other shapes for {count} tensors"
        lack = lack if wanted - fit.keys() else f"holds {len(unfit)} tensors of more layers than those"
        raise TrainError(
            f"{where}: {lack} of the backbone, such as {unfit[0]}; choose weights of this backbone"
            f"{_size_hint(backbone, size)}"
        )
    check_values(f"{where}: {source.path}", fit)
    backbone.load_state_dict(fit, strict=False)
    below = f" below {prefix.removesuffix('.')}" if prefix else ""
    others = f"; not used: {len(unused)} more, such as {unused[0]}" if unused else ""
    told = f"{len(fit)} tensors of {source.path}{below} are taken, none of its head{others}"
    adapted = [name for name, tensor in named.items() if tensor.shape != fit[name].shape]
    outside = [name for name in stored if not name.startswith(prefix)]
    return Taken(named, sorted(name for name in named if prefix + name not in stored), adapted, left + outside, told)


def adapted_stem(weight_OIJK: Tensor, channels: int) -> Tensor:
    """A first convolution's weights for images of another number of channels.

    One channel gets the sum of all. Several get the given ones in turns, scaled so that a picture with the same content
    in all channels gives the same response.

    Source: `adapt_input_conv` of timm, which adapts stems of three channels so.
    """
    given = weight_OIJK.shape[1]
    if channels == 1 != given:
        return weight_OIJK.sum(dim=1, keepdim=True)
    return weight_OIJK.repeat(1, math.ceil(channels / given), 1, 1)[:, :channels] * (given / channels)


def _stem(weight: Tensor, own: Tensor, channels: int) -> Tensor:
    """A stem's weights for images of other channels; some stems see each channel at several places, one by one."""
    places = own.shape[1] // channels
    if weight.ndim != 4 or weight.shape == own.shape or own.shape[1] % channels or weight.shape[1] % places:
        return weight
    each = weight.float().reshape(-1, weight.shape[1] // places, *weight.shape[2:])
    return adapted_stem(each, channels).reshape(own.shape[0], -1, *own.shape[2:])


def _resized(name: str, tensor: Tensor, own: Tensor, size: Size | None) -> Tensor:
    """Position embeddings for images of another size, where timm leaves them; other tensors as they are."""
    if "pos_embed" not in name or tensor.shape == own.shape or tensor.ndim != own.ndim or size is None:
        return tensor
    axes = [axis for axis, size in enumerate(own.shape) if tensor.shape[axis] != size]
    if tensor.ndim == 4 and len(axes) == 2:
        moved, wanted = tensor.movedim(axes, (2, 3)).float(), [own.shape[axis] for axis in axes]
        return functional.interpolate(moved, wanted, mode="bicubic", antialias=True).movedim((2, 3), axes)
    if tensor.ndim == 3 and axes == [1]:  # (1, tokens, features), a class's token or two first
        side = math.isqrt(tensor.shape[1])  # of a square of patches
        prefix = tensor.shape[1] - side**2
        stride = math.isqrt(size[0] * size[1] // max(1, own.shape[1] - prefix))
        grid = [length // stride for length in size]
        tensor = resample_abs_pos_embed(tensor, grid, [side, side], prefix)
    return tensor


def _named_as(
    wanted: set[str], stored: State, convert: Callable[[State], Iterator[State]], where: str
) -> tuple[str, State]:
    """What stands before the names that fit best, and the tensors with such names, in timm's names."""
    found = []
    for prefix in _prefixes(wanted, stored):
        part = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
        state = max(convert(part), key=lambda names: len(wanted & names.keys()))  # of equals the first
        found.append((len(wanted & state.keys()), prefix, state))
    count, prefix, state = max(found, key=itemgetter(0), default=(0, "", stored))
    others = [each for fits, each, _ in found if fits == count == len(wanted) and each != prefix]
    if others and "ema" not in prefix:
        raise TrainError(
            f"{where}: holds several networks, whose names begin with {prefix} and {others[0]}; save the one to use"
        )
    return prefix, state


def _prefixes(wanted: set[str], names: Iterable[str]) -> list[str]:
    """Beginnings of names, averages of a training's weights (EMA) first: those before which names fit, or common."""
    fitting, common = Counter[str](), Counter[str]()
    for name in names:
        ends = [0, *(place + 1 for place, letter in enumerate(name) if letter == ".")]
        common.update(name[:end] for end in ends)
        fitting.update(name[:end] for end in ends if name[end:] in wanted)
    chosen = [prefix for prefix, _ in fitting.most_common(4)]
    chosen += [prefix for prefix, count in common.items() if count >= COMMON * common[""]]
    return sorted(dict.fromkeys(chosen), key=lambda prefix: "ema" not in prefix)


def _converted(backbone: nn.Module, filters: list[Any], part: State) -> Iterator[State]:
    """These tensors under the names that timm's function of the family gives them, their own, and by their order."""
    yield from (_by(function, part, backbone) for function in filter(None, filters))
    yield from (part, _by(in_order, part, backbone))


def _by(function: Any, part: State, backbone: nn.Module) -> State:
    """What a function makes of tensors; they themselves if they are not what it converts."""
    for arguments in ((dict(part), backbone), (dict(part),)):  # older ones of timm take one argument
        try:
            return {name: each for name, each in function(*arguments).items() if isinstance(each, Tensor)}
        except TypeError:
            continue
        except Exception:  # of tensors that it does not know
            break
    return part


def _size_hint(backbone: nn.Module, size: Size | None) -> str:
    """For weights with tables for one size of images, which only timm's own size fits."""
    config: Any = backbone.pretrained_cfg
    height, width = config["input_size"][1:]
    return f" for these clips; timm's are for {height} mel bins and {width} frames" if size else ""


def _lost_parts(backbone: nn.Module, stored: State, trained: Trained | None) -> tuple[str, ...]:
    """Parts of a backbone that lay behind its feature maps, which a head over frames has replaced in the source."""
    if trained is None or trained.head != "sed":
        return ()
    held = {name.removeprefix(BACKBONE).split(".")[0] for name in stored if name.startswith(BACKBONE)}
    return tuple(f"{part}." for part, _ in backbone.named_children() if part not in held)


def _configured(backbone: nn.Module, key: str) -> list[str]:
    """Names of parts of the backbone by timm's configuration, which holds one, several or none."""
    config: Any = backbone.pretrained_cfg
    names = config.get(key) or ()
    return [names] if isinstance(names, str) else list(names)
