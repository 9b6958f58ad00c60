"""Models: any timm backbone on one-channel spectrograms, from scratch or from pretrained weights."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from params import Member
from train.errors import TrainError


def build_model(member: Member, classes: int, pretrained: bool | str) -> nn.Module:
    """Create the member's backbone with one input channel and a linear head of `classes` logits.

    Parameters
    ----------
    pretrained : False (random weights), True (timm downloads its own), or the path of a .safetensors file with timm's
        key names. timm folds the stem's three input channels into one; a file's head is left out, a fresh one takes
        its place.

    Raises
    ------
    TrainError
        If timm has no such backbone, or the weights are missing or do not fit.
    """
    _check_backbone(member.backbone)
    file_keys = _keys_of(pretrained) if isinstance(pretrained, str) else None
    try:
        model: nn.Module = timm.create_model(
            member.backbone, in_chans=1, num_classes=classes, **_options(member, pretrained)
        )
    except (RuntimeError, TypeError, OSError) as error:
        raise TrainError(
            f"params.yaml: backbone {member.backbone} cannot be made with pretrained = {pretrained!r} and "
            f"drop_path = {member.drop_path}: {error}; correct the member"
        ) from error
    if file_keys is not None:
        _check_complete(model, file_keys, f"params.yaml: pretrained = {pretrained!r}")
    return model.to(memory_format=torch.channels_last)


def _check_backbone(backbone: str) -> None:
    if timm.is_model(backbone):
        return
    alike = ", ".join(difflib.get_close_matches(backbone, timm.list_models(), n=10, cutoff=0.5))
    way_out = f"some alike: {alike}" if alike else "choose one of timm.list_models()"
    raise TrainError(f"params.yaml: backbone = {backbone!r}: timm knows no such model; {way_out}")


def _options(member: Member, pretrained: bool | str) -> dict[str, Any]:
    options: dict[str, Any] = {"pretrained": bool(pretrained), "drop_rate": member.dropout}
    if member.drop_path:
        options["drop_path_rate"] = member.drop_path  # not every backbone has this option
    if isinstance(pretrained, str):
        # a head for no classes is never of the size that is wanted, so timm leaves the file's head out
        options["pretrained_cfg_overlay"] = {"file": pretrained, "num_classes": 0}
    return options


def _keys_of(path: str) -> set[str]:
    """Names of the tensors in a .safetensors file."""
    if not Path(path).is_file():
        raise TrainError(f"params.yaml: pretrained = {path!r}: no such file; correct the path or set it to false")
    try:
        with safe_open(path, "pt") as file:
            return set(file.keys())
    except SafetensorError as error:
        raise TrainError(
            f"params.yaml: pretrained = {path!r}: is no .safetensors file ({error}); fetch it anew"
        ) from None


def _check_complete(model: nn.Module, file_keys: set[str], where: str) -> None:
    """Refuse weights that leave more than the head untouched: timm would keep random values there, in silence."""
    config: Any = model.pretrained_cfg
    heads = config.get("classifier") or ()
    fresh = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    wanted = {
        key for key in model.state_dict() if not key.startswith(fresh) and not key.endswith("num_batches_tracked")
    }
    if missing := sorted(wanted - file_keys):
        raise TrainError(
            f"{where}: lacks {len(missing)} of {len(wanted)} tensors of the backbone, such as {missing[0]}; "
            "name weights of this backbone with timm's key names"
        )


def choose_device(wanted: str) -> torch.device:
    """The device that `machine.device` (auto, cpu, cuda) names; auto takes a GPU if there is one.

    Raises
    ------
    TrainError
        If a GPU is demanded and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise TrainError(
            "params.yaml: machine.device = 'cuda': no GPU can be used here; see `birdcache doctor`, or set it to auto"
        )
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Type of mixed precision: what the recipe says; auto is bfloat16 where the GPU has it, none on a CPU."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
