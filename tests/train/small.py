"""A model without batch norm, small enough to compile and to train in two processes, and batches for it."""

from __future__ import annotations

import torch
from torch import nn

from train.augment.batch import Batch
from train.model.classifier import Classifier

MEL_BINS, FRAMES, CLASSES = 16, 20, 3


class SmallNet(nn.Sequential):
    """One convolution and a classifier; each clip is seen apart from the others of its batch."""

    num_features = 8

    def __init__(self, classes: int = CLASSES) -> None:
        convolution = nn.Conv2d(1, 8, 3, stride=2)
        super().__init__(convolution, nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

    def get_classifier(self) -> nn.Module:
        """The head, as timm's models name it."""
        return self[-1]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head sees."""
        for module in list(self)[:-1]:
            images = module(images)
        return images

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pooled features as they are, or logits."""
        logits: torch.Tensor = self[-1](features)
        return features if pre_logits else logits


def small_model(seed: int = 1, classes: int = CLASSES, mel_bins: int = MEL_BINS) -> Classifier:
    """The model with weights that follow from the seed."""
    torch.manual_seed(seed)
    return Classifier(SmallNet(classes), mel_bins)


def batch_of(clips: int, seed: int = 1) -> Batch:
    """Random clips and soft targets; some classes are left out of the loss, and clips count unlike each other."""
    rng = torch.Generator().manual_seed(seed)
    targets = torch.rand((clips, CLASSES), generator=rng)
    weights = (torch.rand((clips, CLASSES), generator=rng) > 0.2).float()
    weights[:, 0] = 1
    images = torch.randn((clips, 1, MEL_BINS, FRAMES), generator=rng)
    return Batch(images, targets, weights, 0.5 + torch.rand(clips, generator=rng))


def alike(batch: Batch) -> Batch:
    """The batch with nothing left out and all clips counting alike."""
    return Batch(batch.clips, batch.targets, torch.ones_like(batch.weights), torch.ones_like(batch.importance))


def cut(batch: Batch, *sizes: int) -> list[Batch]:
    """A batch in pieces."""
    fields = (batch.clips, batch.targets, batch.weights, batch.importance)
    return [Batch(*parts) for parts in zip(*(torch.split(field, list(sizes)) for field in fields), strict=True)]
