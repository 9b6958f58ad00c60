"""Trained weights as safetensors, with a sidecar that says what they are: labels, member, recipe, view, digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from birdcache.errors import TrainError
from birdcache.files import checksummed_json, sha256_hex, verified_json, write_durably
from train.augment.normalise import channel_count
from train.members import ResolvedMember
from train.model.classifier import Classifier, build_model
from train.model.weight_file import SIDECAR as SIDECAR

KINDS = ("last", "best")


class Sidecar(BaseModel):
    """What the weights in a folder are; `metrics` are those of the validation fold.

    `sha256` guards the files, and a seal the sidecar itself.
    """

    # a metric may be NaN (a fold without two classes), which JSON proper cannot say
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    version: Literal[2] = 2
    labels: list[str]
    fold: int
    member: ResolvedMember
    folds_sha256: str
    sha256: dict[str, str]
    metrics: dict[str, dict[str, float]]


def weights_bytes(model: nn.Module) -> bytes:
    """A model's weights as the content of a .safetensors file."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})


def write_model(folder: Path, weights: dict[str, bytes], sidecar: Sidecar) -> None:
    """Write `<kind>.safetensors` of each kind, then the sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in weights.items():
        write_durably(folder / f"{kind}.safetensors", content)
    write_durably(folder / SIDECAR, checksummed_json(json.loads(sidecar.model_dump_json())))


def read_sidecar(folder: Path) -> Sidecar:
    """Read a trained model's sidecar.

    Raises
    ------
    TrainError
        If it is missing or not of this version.
    """
    path = folder / SIDECAR
    try:
        return Sidecar.model_validate_json(json.dumps(verified_json(path.read_bytes())))
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing, so {folder} holds no trained model; run `dvc repro train`") from None
    except ValidationError as error:
        raise TrainError(f"{path}: {error.errors()[0]['msg']}; it is of another version: train again") from None
    except ValueError as error:
        raise TrainError(f"{path}: {error}; it is damaged or of another version: train again") from None


def read_model(folder: Path, sidecar: Sidecar, kind: str, device: torch.device) -> Classifier:
    """Load a trained model for inference.

    Raises
    ------
    TrainError
        If the weights are missing, damaged, or do not fit the architecture.
    """
    path = folder / f"{kind}.safetensors"
    content = path.read_bytes() if path.is_file() else b""
    if sha256_hex(content) != sidecar.sha256.get(kind):
        state = "is missing" if not content else "has other bytes than its sidecar promises"
        raise TrainError(f"{path}: {state}; restore it or train again with `dvc repro`")
    view, channels = sidecar.member.view, channel_count(sidecar.member.view, sidecar.member.recipe)
    model = build_model(sidecar.member.member, len(sidecar.labels), view.n_mels, pretrained=False, channels=channels)
    try:
        model.load_state_dict(load(content))
    except (RuntimeError, SafetensorError) as error:
        raise TrainError(f"{path}: does not fit {sidecar.member.member.backbone}: {error}; train again") from error
    return model.to(device).eval()
