"""The exponential moving average of a model's weights, which is validated and kept under `ema_decay`."""

from copy import deepcopy

import torch

from train.model.classifier import Classifier

WARMUP_POWER = 0.75  # as timm's ModelEmaV3 for models trained for less than a million steps


class RunningMean:
    """A model's exponential moving average; after step n it keeps min(decay, 1 - n^-0.75) of what it was.

    Numbers are those of timm's ModelEmaV3, which gathers all tensors anew in each step and so takes longer than some
    steps do. Integers, counts of batches that nothing reads, are left out.
    """

    def __init__(self, model: Classifier, decay: float) -> None:
        self.model, self._decay = deepcopy(model).eval(), decay
        both = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        pairs = [pair for pair in both if pair[0].is_floating_point()]
        self._means, self._weights = [mean for mean, _ in pairs], [weight for _, weight in pairs]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after a step, counted from 1."""
        torch._foreach_lerp_(self._means, self._weights, 1 - min(self._decay, 1 - step**-WARMUP_POWER))
