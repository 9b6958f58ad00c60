"""Batch norm over the shares of several processes: the statistics, and their gradients, of the whole batch.

torch's SyncBatchNorm counts and masks the shares of each layer, for which the host waits three times. Here all shares
are of one size, so that one message a layer in each direction is enough, and nobody waits for it.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from train.loop.distributed import Ranks
from train.model.classifier import Classifier

ENOUGH = 16  # clips of a share whose own statistics are as good


def is_joint(wanted: str, share: int, ranks: Ranks) -> bool:
    """True if batch norm is to be joint: as the recipe's `batch_norm` says, or for shares of few clips."""
    return ranks.world > 1 and (wanted == "joint" or (wanted == "auto" and share < ENOUGH))


def join_batch_norm(model: Classifier, ranks: Ranks) -> None:
    """Make all batch norms of a model joint in training; names of weights and results in evaluation stay."""
    modules: list[Any] = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.affine]
    for module in modules:
        module.__class__, module.ranks = _joint_kind(module.__class__), ranks


@cache
def _joint_kind(kind: type[Any]) -> type[Any]:
    """A kind of batch norm, timm's with an activation included, that is joint in training."""

    def forward(self: Any, images: Tensor) -> Any:
        if not self.training:
            return kind.forward(self, images)
        shown, mean_C, var_C = _JointNorm.apply(images, self.weight, self.bias, self.eps, self.ranks)
        if self.track_running_stats:
            count = self.ranks.world * images.numel() / images.shape[1]
            self.num_batches_tracked += 1
            share = self.momentum or 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean_C, share)
            self.running_var.lerp_(var_C * (count / (count - 1)), share)
        return self.act(self.drop(shown)) if hasattr(self, "act") else shown

    disable: Any = torch.compiler.disable  # the messages in it cannot be compiled
    return type(f"Joint{kind.__name__}", (kind,), {"forward": disable(forward)})


class _JointNorm(torch.autograd.Function):
    """(x - mean) / deviation * weight + bias over the batch of all processes; also mean and variance: (C,) each."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor]:
        over = [0, *range(2, images.ndim)]
        var_C, mean_C = torch.var_mean(images.float(), over, correction=0)
        mean_RC, var_RC = ranks.whole(torch.stack([mean_C, var_C])[None]).unbind(1)
        mean_C = mean_RC.mean(dim=0)
        var_C = var_RC.mean(dim=0) + mean_RC.var(dim=0, correction=0)
        ctx.over, ctx.ranks = over, ranks
        ctx.save_for_backward(images, weight_C, mean_C, (var_C + eps).rsqrt())
        ctx.mark_non_differentiable(mean_C, var_C)
        return functional.batch_norm(images, mean_C, var_C, weight_C, bias_C, False, 0.0, eps), mean_C, var_C

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
        images, weight_C, mean_C, scale_C = ctx.saved_tensors
        grad, shape = gradients[0].float(), [1, -1, *[1] * (images.ndim - 2)]
        shown = (images.float() - mean_C.view(shape)).mul_(scale_C.view(shape))
        own_2C = torch.stack([grad.sum(ctx.over), (grad * shown).sum(ctx.over)])
        count = ctx.ranks.world * images.numel() / images.shape[1]
        bias_C, slope_C = (ctx.ranks.total(own_2C.clone()) / count).unbind(0)
        grad = (grad - bias_C.view(shape)).sub_(shown.mul_(slope_C.view(shape))).mul_((weight_C * scale_C).view(shape))
        return grad.to(images.dtype), own_2C[1].to(weight_C.dtype), own_2C[0].to(weight_C.dtype), None, None
