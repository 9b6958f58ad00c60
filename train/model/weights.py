"""Trained weights as safetensors, their sidecar `model.json` (labels, member, recipe, view, digests), and soups.

A soup is one model whose weights are the mean of those of several epochs; docs/inference.md says when it is any good.
The running mean and variance of batch norm are averaged like weights; integers (counts of batches) are those of the
last model.
"""

import json
from collections.abc import Collection
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
from train.data.member import ResolvedMember
from train.model.classifier import Classifier, build_model
from train.model.sizes import Clips
from train.model.weight_file import check_values
from train.model.weight_source import SIDECAR as SIDECAR


class Sidecar(BaseModel):
    """The description of the weights in a folder; `metrics` are those of the validation fold.

    `sha256` guards the files, and a checksum the sidecar itself.
    """

    # a metric may be NaN (a fold without two classes), which strict JSON has no value for
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
    """Read a trained model's sidecar; a TrainError if it is missing or not of this version."""
    path = folder / SIDECAR
    try:
        return Sidecar.model_validate_json(json.dumps(verified_json(path.read_bytes())))
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing, so {folder} holds no trained model; run `dvc repro train`") from None
    except ValidationError as error:
        raise TrainError(f"{path}: {error.errors()[0]['msg']}; written by another version: train again") from None
    except ValueError as error:
        raise TrainError(f"{path}: {error}; it is corrupted or was written by another version: train again") from None


def read_model(folder: Path, sidecar: Sidecar, kind: str, device: torch.device) -> Classifier:
    """Load a trained model for inference; a TrainError if its weights are missing, damaged, or of another network."""
    path = folder / f"{kind}.safetensors"
    content = path.read_bytes() if path.is_file() else b""
    if sha256_hex(content) != sidecar.sha256.get(kind):
        state = "is missing" if not content else "does not match the checksum in its sidecar"
        raise TrainError(f"{path}: {state}; restore it, or train again with `dvc repro`")
    view, recipe = sidecar.member.view, sidecar.member.recipe
    channels, clips, classes = channel_count(view, recipe), Clips(view, recipe.clip_s), len(sidecar.labels)
    model = build_model(sidecar.member.member, classes, view.n_mels, False, channels, clips)
    try:
        tensors = load(content)
        model.load_state_dict(tensors)
    except (RuntimeError, SafetensorError) as error:
        raise TrainError(f"{path}: does not fit {sidecar.member.member.backbone}: {error}; train again") from error
    check_values(str(path), tensors, "train again")
    return model.to(device).eval()


def mean_bytes(contents: Collection[bytes]) -> bytes:
    """Mean of weights of one architecture, as .safetensors contents in and out; integers are those of the last."""
    states = [load(content) for content in contents]
    last = states[-1]
    weights = [name for name, tensor in last.items() if tensor.is_floating_point()]
    sums = {name: torch.stack([state[name].double() for state in states]) for name in weights}
    return save({**last, **{name: each.mean(dim=0).to(last[name].dtype) for name, each in sums.items()}})
