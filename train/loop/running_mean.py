"""The exponential moving average of a model's weights, which is validated and kept under `ema_decay`."""

from copy import deepcopy

import torch
from torch import Tensor

from train.model.classifier import Classifier

WARMUP_POWER = 0.75  # as timm's ModelEmaV3 for models trained for less than a million steps


class RunningMean:
    """A model's exponential moving average; after step n it keeps min(decay, 1 - n^-0.75) of what it was.

    Numbers are those of timm's ModelEmaV3, which gathers all tensors anew in each step and so takes longer than some
    steps do. Integers (counts of batches) are copied.
    """

    def __init__(self, model: Classifier, decay: float) -> None:
        self.model, self._decay = deepcopy(model).eval(), decay
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._means, self._weights = _columns([pair for pair in pairs if pair[0].is_floating_point()])
        self._kept_counts, self._counts = _columns([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after a step, counted from 1."""
        kept = min(self._decay, 1 - step**-WARMUP_POWER)
        torch._foreach_lerp_(self._means, self._weights, 1 - kept)
        if self._counts:
            torch._foreach_copy_(self._kept_counts, self._counts)


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
