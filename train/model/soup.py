"""Soups: one model whose weights are the mean of several models' weights.

`weights: soup` of a recipe is the mean over the last epochs of one training, which lie in one valley of the loss, as in
stochastic weight averaging (SWA, Izmailov et al. 2018). SWA keeps the learning rate constant or cyclic and so gathers
models that differ; at the end of a cosine epochs differ little, and their mean gains little.

`ensemble.fold_soup` is the mean over the folds of a member, the uniform soup of Wortsman et al. 2022. They average
fine-tunings of one pretrained model, which share a valley, and take in a model only if it helps (the greedy soup);
trainings from different random weights share none, and their mean is usually poor.

Batch norm's running mean and variance are averaged like weights. SWA recomputes them by a pass over the training data,
since the averaged network has other activations; for neighbouring epochs the difference is small, for folds it is one
more reason why their soup may be poor. Integers (counts of batches) are those of the last model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from birdcache.errors import TrainError
from train.model.classifier import Classifier
from train.model.weights import Sidecar, read_model, read_sidecar


def mean_state(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of state dicts of one architecture, in the type of the last; integers as in the last.

    Raises
    ------
    TrainError
        If they hold other tensors than each other.
    """
    last = states[-1]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(other != shapes[-1] for other in shapes):
        raise TrainError("weights of different architectures have no mean; set ensemble.fold_soup: false")
    return {name: _mean([state[name] for state in states]) for name in last}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    last = tensors[-1]
    if not last.is_floating_point():
        return last.clone()
    return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(last.dtype)


def mean_bytes(contents: Collection[bytes]) -> bytes:
    """Mean of weights that lie as contents of .safetensors files, as such a content."""
    return save(mean_state([load(content) for content in contents]))


def read_fold_soup(folders: Sequence[Path], device: torch.device) -> tuple[Sidecar, Classifier]:
    """One model of a member's folds, and the sidecar of the last of them.

    Raises
    ------
    TrainError
        If weights are missing, or not of one architecture.
    """
    sidecars = [read_sidecar(folder) for folder in folders]
    cpu = torch.device("cpu")
    models = [
        read_model(folder, sidecar, sidecar.member.recipe.weights, cpu)
        for folder, sidecar in zip(folders, sidecars, strict=True)
    ]
    models[-1].load_state_dict(mean_state([model.state_dict() for model in models]))
    return sidecars[-1], models[-1].to(device)
