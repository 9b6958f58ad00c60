"""Models: any timm backbone on one-channel spectrograms, from scratch or from pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from params import MachineParams, Member
from train.errors import TrainError


def build_model(member: Member, classes: int, pretrained: bool | str) -> nn.Module:
    """Create the member's backbone with one input channel and a linear head of `classes` logits.

    Parameters
    ----------
    pretrained : False (random weights), True (timm downloads its own), or the path of a .safetensors file with timm's
        key names. timm folds the stem's three input channels into one and leaves out a head of other size.

    Raises
    ------
    TrainError
        If timm has no such backbone, or the weights are missing or do not fit.
    """
    if not timm.is_model(member.backbone):
        close = timm.list_models(f"*{member.backbone.split('_')[0]}*")[:5]
        raise TrainError(
            f"params.yaml: backbone = {member.backbone!r}: timm knows no such model; some alike: {', '.join(close)}"
        )
    options: dict[str, Any] = {
        "pretrained": bool(pretrained),
        "drop_rate": member.dropout,
        "drop_path_rate": member.drop_path,
    }
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise TrainError(
                f"params.yaml: pretrained = {pretrained!r}: no such file; correct the path or set it to false"
            )
        options["pretrained_cfg_overlay"] = {"file": pretrained}
    try:
        model: nn.Module = timm.create_model(member.backbone, in_chans=1, num_classes=classes, **options)
    except (RuntimeError, TypeError, OSError) as error:
        raise TrainError(f"params.yaml: backbone {member.backbone} with pretrained = {pretrained}: {error}") from error
    return model.to(memory_format=torch.channels_last)


def choose_device(machine: MachineParams) -> torch.device:
    """The device that `machine.device` names; auto takes a GPU if there is one.

    Raises
    ------
    TrainError
        If a GPU is demanded and there is none.
    """
    available = torch.cuda.is_available()
    if machine.device == "cuda" and not available:
        raise TrainError(
            "params.yaml: machine.device = 'cuda': no GPU can be used here; see `birdcache doctor`, or set it to auto"
        )
    return torch.device("cuda" if available and machine.device != "cpu" else "cpu")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Type of mixed precision: what the recipe says; auto is bfloat16 where the GPU has it, none on a CPU."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
