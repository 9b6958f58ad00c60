"""A backbone's first weights: out of a file with timm's key names, or out of a trained model of any project.

Source: weights learnt on other labels, without their head, as in Yosinski et al. 2014.
"""

from __future__ import annotations

import math
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from birdcache.errors import TrainError
from train.model.weight_file import Trained, WeightSource

BACKBONE = "backbone."  # what names of a trained model's tensors begin with, but for those of its head and statistics
STATISTICS = "bin_mean"  # (C, M), with the channels of the images that the model was trained on


def check_source(source: WeightSource, backbone: str, pretrained: bool | str) -> None:
    """Refuse weights of another backbone before anything is built.

    Raises
    ------
    TrainError
        If they were trained with another backbone (naming both), or have other key names than timm's.
    """
    if source.trained is None:
        keys = _keys_of(source, pretrained)
        if any(key.startswith(BACKBONE) for key in keys):
            raise TrainError(
                f"{_where(pretrained)}: is a trained model without its sidecar; copy the whole folder, with model.json"
            )
    elif source.trained.backbone != backbone:
        raise TrainError(
            f"{_where(pretrained)}: was trained with backbone {source.trained.backbone}, but this member has "
            f"{backbone}; name the same backbone, or another source"
        )


def take_weights(backbone: nn.Module, source: WeightSource, channels: int, pretrained: bool | str) -> None:
    """Copy a trained model's weights into a backbone, without its head; what timm has loaded from a file is checked.

    If the source saw images of another number of channels, its stem is adapted to `channels`.

    Raises
    ------
    TrainError
        If tensors are missing or of other shapes.
    """
    if source.trained is None:
        _check_complete(backbone, _keys_of(source, pretrained), pretrained)
        return
    try:
        stored = load_file(source.path)
    except SafetensorError as error:
        raise TrainError(f"{_where(pretrained)}: {source.path}: {error}; copy the folder again") from None
    taken = {name.removeprefix(BACKBONE): tensor for name, tensor in stored.items() if name.startswith(BACKBONE)}
    _check_complete(backbone, set(taken), pretrained, _lost_parts(backbone, taken, source.trained))
    own, head = backbone.state_dict(), _head(backbone)
    taken = {name: tensor for name, tensor in taken.items() if name in own and not name.startswith(head)}
    try:
        taken |= _stems(backbone, taken, len(stored[STATISTICS]), channels)
        backbone.load_state_dict(taken, strict=False)
    except (RuntimeError, KeyError) as error:
        raise TrainError(f"{_where(pretrained)}: {source.path} does not fit the backbone: {error}") from error


def adapted_stem(weight_OIJK: Tensor, channels: int) -> Tensor:
    """A first convolution's weights for images of another number of channels.

    One channel gets the sum of all. Several get the given ones in turns, scaled so that a picture with the same content
    in all channels gives the same response.

    Source: `adapt_input_conv` of timm, which adapts stems of three channels so.
    """
    given = weight_OIJK.shape[1]
    if channels == given:
        return weight_OIJK
    if channels == 1:
        return weight_OIJK.sum(dim=1, keepdim=True)
    return weight_OIJK.repeat(1, math.ceil(channels / given), 1, 1)[:, :channels] * (given / channels)


def _where(pretrained: bool | str) -> str:
    return f"params.yaml: pretrained = {pretrained!r}"


def _keys_of(source: WeightSource, pretrained: bool | str) -> set[str]:
    """Names of the tensors in a .safetensors file."""
    try:
        with safe_open(source.path, "pt") as file:
            return set(file.keys())
    except SafetensorError as error:
        raise TrainError(f"{_where(pretrained)}: is not a .safetensors file ({error}); download it again") from None


def _check_complete(
    backbone: nn.Module, file_keys: set[str], pretrained: bool | str, fresh: tuple[str, ...] = ()
) -> None:
    """Refuse weights that leave tensors outside the head and the `fresh` parts at random values."""
    untouched = (*_head(backbone), *fresh)
    state = backbone.state_dict()
    wanted = {key for key in state if not key.startswith(untouched) and not key.endswith("num_batches_tracked")}
    if missing := sorted(wanted - file_keys):
        raise TrainError(
            f"{_where(pretrained)}: lacks {len(missing)} of {len(wanted)} tensors of the backbone, such as "
            f"{missing[0]}; choose weights of this backbone with timm's key names"
        )


def _head(backbone: nn.Module) -> tuple[str, ...]:
    """Prefixes of the tensors of timm's own head."""
    return tuple(f"{name}." for name in _configured(backbone, "classifier"))


def _lost_parts(backbone: nn.Module, taken: dict[str, Tensor], trained: Trained) -> tuple[str, ...]:
    """Parts of a backbone that lay behind its feature maps, which a head over frames has replaced in the source."""
    if trained.head != "sed":
        return ()
    held = {name.split(".")[0] for name in taken}
    return tuple(f"{part}." for part, _ in backbone.named_children() if part not in held)


def _stems(backbone: nn.Module, taken: dict[str, Tensor], given: int, channels: int) -> dict[str, Tensor]:
    """Weights of the first convolutions, adapted from `given` channels to `channels`."""
    if channels == given:
        return {}
    keys = [f"{name}.weight" for name in _configured(backbone, "first_conv")]
    return {key: adapted_stem(taken[key], channels) for key in keys}


def _configured(backbone: nn.Module, key: str) -> list[str]:
    """Names of parts of the backbone by timm's configuration, which holds one, several or none."""
    config: Any = backbone.pretrained_cfg
    names = config.get(key) or ()
    return [names] if isinstance(names, str) else list(names)
