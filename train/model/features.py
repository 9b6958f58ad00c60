"""Pooled features of a model: what its last layer sees, which embeds a clip. B batch, C channel, M mel bin, T frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from train.model.classifier import Classifier
from train.model.heads import feature_maps


def features_and_logits(network: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features (B, E) and logits (B, K) of images (B, C, M, T).

    A head over frames sees maps, so that its features are the mean of these over mel bins and frames.
    """
    backbone: Any = network.backbone
    if network.head is None:
        maps = backbone.forward_features(images)
        return backbone.forward_head(maps, pre_logits=True), backbone.forward_head(maps)
    maps = feature_maps(backbone, images)
    return maps.mean(dim=(2, 3)), network.head(maps)[0]
