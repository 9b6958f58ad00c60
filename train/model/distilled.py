"""A network that learns from a teacher: a projection of its features, and distances to what the teacher says.

B batch, D dimension of the teacher's output.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from birdcache.params.embedding import Output
from birdcache.params.teacher import TeacherParams
from train.augment.batch import Batch
from train.data.teacher import Teacher
from train.model.classifier import Classifier, Logits, features_and_logits


class Distilled(nn.Module):
    """A network and a projection of its pooled features, which is trained with it and not saved with its weights."""

    def __init__(self, network: Classifier, teacher: Teacher) -> None:
        super().__init__()
        backbone, params, output = cast(Any, network.backbone), teacher.params, cast(Output, teacher.output)
        size = backbone.num_features if network.head else getattr(backbone, "head_hidden_size", backbone.num_features)
        hidden = [nn.Linear(size, size), nn.GELU()] if params.projection == "mlp" else []
        projection = nn.Sequential(*hidden, nn.Linear(size, output.stop - output.start))
        self.network, self._stops = network, params.stop_gradient
        self.projection = projection.to(network.bin_mean.device)

    def forward(self, images: Tensor) -> Logits:
        """Logits of images (B, C, M, T), with the projection of their features."""
        features, logits = features_and_logits(self.network, images)
        return logits._replace(projected=self.projection(features.detach() if self._stops else features))


def distances(logits: Logits, batch: Batch, params: TeacherParams) -> Tensor:
    """Weighed distance of each clip's projection to what the teacher says of it: (B,) float32.

    cosine: 1 - cos. mse: mean of squared differences. kl: Kullback-Leibler divergence of each class's score from that
    of the teacher, mean over the classes, which may sing together.
    """
    projected_BD: Tensor = logits.projected.float()
    target_BD, weight_B = cast(tuple[Tensor, Tensor], batch.taught)
    if params.loss == "cosine":
        return weight_B * (1 - functional.cosine_similarity(projected_BD, target_BD))
    if params.loss == "mse":
        return weight_B * (projected_BD - target_BD).square().mean(dim=1)
    target_BD = target_BD.clamp(0, 1)
    cross_BD = functional.binary_cross_entropy_with_logits(projected_BD, target_BD, reduction="none")
    entropy_BD = torch.xlogy(target_BD, target_BD) + torch.xlogy(1 - target_BD, 1 - target_BD)
    return weight_B * (cross_BD + entropy_BD).mean(dim=1)
