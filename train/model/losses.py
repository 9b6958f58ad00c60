"""Losses between logits and soft targets, and the weights of classes in them. B batch, K class.

A target is anything from 0 to 1: mixed, smoothed, or the weight of a secondary label. Cells of a batch's weights that
are 0 are left out, and a batch's importance weighs its clips: every loss is a weighted mean, and 0 if nothing is left.

timm's losses take neither weights of cells and clips nor fractional targets in focal terms, and its class weights have
mean 1 over classes, not over recordings; so these are built on torch's functions.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from birdcache.arrays import Floats32, Ints
from birdcache.errors import TrainError
from birdcache.params.loss import LossParams
from train.augment.batch import Batch
from train.model.classifier import Logits
from train.model.set_losses import SET_LOSSES, SMALLEST, weighted_mean

LEFT_OUT = -1e4  # logit of a class left out of the softmax
EASED = 2.0  # factor of the logits of absent classes in the distribution-balanced loss


class Loss:
    """The loss that a recipe asks for: `clip` times that of the clips, `frame_max` times that of the loudest frames.

    ce : cross-entropy between the targets, scaled to a sum of 1, and the softmax of the logits. A clip without any
        target is left out.
    bce : binary cross-entropy of each class, mean over classes and clips.
    focal_ce, focal_bce : each term times |target - score|^gamma, see `focus`; bce also times alpha for positives and
        1 - alpha for negatives, in proportion for targets between. At gamma 0 focal_ce is ce, and at gamma 0 and
        alpha 0.5 focal_bce is half of bce.
    asymmetric : as bce, with easy negatives discounted, see `asymmetric`.
    distribution_balanced : as bce, with weights by the rarity of what is present, see `distribution_balanced`.
    zlpr, two_way : of a clip's or a class's present and absent cells together, see `train.model.set_losses`.
    soft_auc : this share of the loss is `soft_auc` instead.
    consistency : so many times `disagreement` is added, for batches in which each clip has two views in a row.

    Weights of positives multiply what bce has of present classes, in proportion to the targets. Class weights weigh
    the terms of ce, whose mean over the training recordings they leave as it is, and the columns in the mean of bce;
    the others have none, since they compare present and absent cells by themselves.
    """

    def __init__(
        self,
        params: LossParams,
        class_weights_K: Tensor,
        pos_weights_K: Tensor | None = None,
        balance_2K: Tensor | None = None,
    ) -> None:
        """Without a balance, as from `balance`, distribution_balanced is bce."""
        self._params, self._class_weights_K = params, class_weights_K
        self._pos_weights_K, self._balance_2K = pos_weights_K, balance_2K

    def __call__(self, logits: Logits, batch: Batch) -> Tensor:
        """Loss of a batch: a scalar tensor, float32."""
        # the clips' loss is there even at weight 0, so that each parameter of the head has a gradient, as DDP demands
        total = self._params.clip * self._of(logits.clip.float(), batch)
        if logits.frame_max is not None and self._params.frame_max:
            total = total + self._params.frame_max * self._of(logits.frame_max.float(), batch)
        return total

    def _of(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean over the samples of dropout, whose logits lie side by side: (B, S K)."""
        samples = torch.split(logits, batch.targets.shape[1], dim=1)
        return torch.stack([self._of_sample(logits_BK, batch) for logits_BK in samples]).mean()

    def _of_sample(self, logits_BK: Tensor, batch: Batch) -> Tensor:
        total, share = self._main(logits_BK, batch), self._params.soft_auc
        if share:
            total = (1 - share) * total + share * soft_auc(logits_BK, batch.targets, _cell_weights(batch))
        if self._params.consistency:
            total = total + self._params.consistency * disagreement(logits_BK, batch, self._params)
        return total

    def _main(self, logits_BK: Tensor, batch: Batch) -> Tensor:
        if self._params.kind in SET_LOSSES:
            soft_BK = smoothed(batch.targets, self._params.label_smoothing, exclusive=False)
            return SET_LOSSES[self._params.kind](logits_BK, soft_BK, _cell_weights(batch))
        return self._exclusive(logits_BK, batch) if self._params.exclusive else self._binary(logits_BK, batch)

    def _exclusive(self, logits_BK: Tensor, batch: Batch) -> Tensor:
        params, known_BK = self._params, batch.targets * batch.weights
        sum_B1 = known_BK.sum(dim=1, keepdim=True)
        soft_BK = smoothed(known_BK / sum_B1.clamp(min=SMALLEST), params.label_smoothing, exclusive=True)
        soft_BK = soft_BK * batch.weights
        log_share_BK = logits_BK.masked_fill(batch.weights == 0, LEFT_OUT).log_softmax(dim=1)
        each_BK = -soft_BK * log_share_BK * self._class_weights_K
        if params.kind == "focal_ce":
            each_BK = each_BK * focus(soft_BK, log_share_BK.exp(), params.focal_gamma)
        return weighted_mean(each_BK.sum(dim=1), batch.importance * (sum_B1[:, 0] > 0))

    def _binary(self, logits_BK: Tensor, batch: Batch) -> Tensor:
        params = self._params
        soft_BK = smoothed(batch.targets, params.label_smoothing, exclusive=False)
        each_BK = functional.binary_cross_entropy_with_logits(
            logits_BK, soft_BK, reduction="none", pos_weight=self._pos_weights_K
        )
        if params.kind == "focal_bce":
            balance_BK = params.focal_alpha * soft_BK + (1 - params.focal_alpha) * (1 - soft_BK)
            each_BK = each_BK * balance_BK * focus(soft_BK, logits_BK.sigmoid(), params.focal_gamma)
        if params.kind == "asymmetric":
            each_BK = asymmetric(logits_BK, soft_BK, params.focal_gamma)
        if self._balance_2K is not None:
            each_BK = distribution_balanced(logits_BK, soft_BK, self._balance_2K)
        return weighted_mean(each_BK, _cell_weights(batch) * self._class_weights_K)


def smoothed(targets_BK: Tensor, smoothing: float, exclusive: bool) -> Tensor:
    """Label smoothing: towards even over the classes (ce), or towards one half (bce).

    Source: Szegedy et al. 2016; for bce as in Keras, where 0.1 asks for scores from 0.05 to 0.95.
    """
    rest = 1 / targets_BK.shape[1] if exclusive else 0.5
    return targets_BK * (1 - smoothing) + smoothing * rest


def focus(targets_BK: Tensor, scores_BK: Tensor, gamma: float) -> Tensor:
    """Focal weight |target - score|^gamma: how much a term counts that is nearly right already.

    For targets 0 and 1 it is (1 - p_t)^gamma of Lin et al. 2017, Focal loss for dense object detection; for targets
    between it is 0 where the score is the target, as in the quality focal loss (Li et al. 2020, Generalized focal
    loss), so that the loss is still smallest there.
    """
    # a power below 1 has no finite slope at 0
    return (targets_BK - scores_BK).abs().clamp(min=SMALLEST) ** gamma


def asymmetric(logits_BK: Tensor, targets_BK: Tensor, gamma: float) -> Tensor:
    """BCE whose easy negatives count little, and not at all below a score of 0.05.

    Source: Ridnik et al. 2021, Asymmetric loss for multi-label classification, with gamma for negatives only.
    """
    easy_BK = (logits_BK.sigmoid() - 0.05).clamp(min=0)
    # a power below 1 has no finite slope at 0
    weight_BK = easy_BK.clamp(min=SMALLEST) ** gamma
    return -targets_BK * functional.logsigmoid(logits_BK) - (1 - targets_BK) * weight_BK * (-easy_BK).log1p()


def distribution_balanced(logits_BK: Tensor, targets_BK: Tensor, balance_2K: Tensor) -> Tensor:
    """BCE for long tails in which several classes may be present: (B, K).

    All terms of a clip weigh 0.1 + sigmoid(10 (r - 0.2)), where r is the rarity of their class in proportion to the sum
    of those present. Logits are moved by the balance, so that rare classes need not be pushed down as far, and those
    of absent classes, doubled, saturate sooner, at half the weight.

    Parameters
    ----------
    balance_2K : as from `balance`.

    Source: Wu et al. 2020, Distribution-balanced loss for multi-label classification in long-tailed datasets.
    """
    rarity_K, shift_K = balance_2K
    present_B1 = (targets_BK * rarity_K).sum(dim=1, keepdim=True).clamp(min=SMALLEST)
    weight_BK = 0.1 + torch.sigmoid(10 * (rarity_K / present_B1 - 0.2))
    moved_BK = logits_BK - shift_K
    absent_BK = functional.softplus(EASED * moved_BK) / EASED
    return weight_BK * (targets_BK * functional.softplus(-moved_BK) + (1 - targets_BK) * absent_BK)


def disagreement(logits_BK: Tensor, batch: Batch, params: LossParams) -> Tensor:
    """Mean divergence between the scores of two views of a clip, which are rows 0 and 1, 2 and 3, ... of a batch.

    It is the mean of Kullback and Leibler's divergences of either from the other, of the shares of all classes (ce) or
    in the mean over the classes (bce).

    Source: R-Drop, Liang et al. 2021, there with two dropouts of one input.
    """
    logits_BK = logits_BK.masked_fill(batch.weights == 0, LEFT_OUT)
    apart_BK, scores_BK = logits_BK[::2] - logits_BK[1::2], scores(logits_BK, params)
    each_BK = (scores_BK[::2] - scores_BK[1::2]) * apart_BK / 2
    if params.exclusive:
        return weighted_mean(each_BK.sum(dim=1), batch.importance[::2])
    return weighted_mean(each_BK, _cell_weights(batch)[::2])


def soft_auc(logits_BK: Tensor, targets_BK: Tensor, weights_BK: Tensor) -> Tensor:
    """Mean of softplus(z_j - z_i) over the pairs (i, j) of clips in a batch in which a class is in i and not in j.

    A logistic bound of 1 - ROC-AUC, pooled over the classes; a pair weighs t_i (1 - t_j) and both clips' weights. So
    a class counts by its pairs: one without a positive, or without a negative, not at all, and one that is hardly
    present hardly. Takes B * B * K values of memory.

    Source: pairwise surrogates of the Wilcoxon-Mann-Whitney statistic, Yan et al. 2003; with the logistic function, on
    soft labels, in winning solutions of BirdCLEF 2025 (there also across classes).
    """
    positive_BK, negative_BK = targets_BK * weights_BK, (1 - targets_BK) * weights_BK
    each_BBK = functional.softplus(logits_BK[None, :] - logits_BK[:, None])
    return weighted_mean(each_BBK, positive_BK[:, None] * negative_BK[None, :])


def _cell_weights(batch: Batch) -> Tensor:
    return batch.weights * batch.importance[:, None]


def check_finite(value: float, where: str) -> None:
    """Refuse to continue with a loss that is not finite; a TrainError if it is infinite or NaN."""
    if not math.isfinite(value):
        raise TrainError(f"{where}: the loss is {value}; lower optimiser.lr, set clip_norm, or use precision float32")


def scores(logits_BK: Tensor, params: LossParams) -> Tensor:
    """Logits to scores in [0, 1]: softmax if classes exclude each other (ce), else sigmoid."""
    return torch.softmax(logits_BK.float(), dim=1) if params.exclusive else torch.sigmoid(logits_BK.float())


def class_weights(counts_K: Ints, params: LossParams) -> Floats32:
    """Weights of classes by how many recordings each has, such that their mean over these recordings is 1.

    `inverse` is 1 / n: all classes count alike. `effective` is (1 - beta) / (1 - beta^n), the inverse of the effective
    number of samples: as 1 / n for a few recordings, the same for all classes with far more than 1 / (1 - beta). The
    weights come on top of weighted sampling, which makes rare classes more frequent in the batches.

    Parameters
    ----------
    counts_K : training recordings of each primary label.

    Returns
    -------
    (K,) float32. A class without a recording weighs 1, like an average recording: `bce` then still learns that it is
    absent from the others.

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples.
    """
    weights_K = np.ones(len(counts_K))
    present = counts_K > 0
    if params.class_weights == "none":
        return weights_K.astype(np.float32)
    counts = counts_K[present].astype(np.float64)
    beta = params.effective_beta
    raw = 1 / counts if params.class_weights == "inverse" else (1 - beta) / (1 - beta**counts)
    weights_K[present] = raw * counts.sum() / (raw * counts).sum()
    return weights_K.astype(np.float32)


def positive_weights(counts_K: Ints, params: LossParams) -> Floats32 | None:
    """Weights of present classes, as torch's `pos_weight`, or None: absent recordings over present ones.

    At least 1 and at most `params.pos_weight`, which a class without a recording gets.

    Parameters
    ----------
    counts_K : as in `class_weights`.
    """
    if params.pos_weight == 1:
        return None
    ratio_K = (counts_K.sum() - counts_K) / np.maximum(counts_K, 1 / params.pos_weight)
    return np.asarray(ratio_K.clip(1, params.pos_weight), np.float32)


def balance(counts_K: Ints, params: LossParams) -> Floats32 | None:
    """What `distribution_balanced` needs of each class, (2, K), or None for other losses: rarity, and shift of logits.

    Rarity is 1 / n, and the shift 0.05 log(N / n - 1) of N recordings. A class without a recording counts as with one.

    Parameters
    ----------
    counts_K : as in `class_weights`.
    """
    if params.kind != "distribution_balanced":
        return None
    counts = np.maximum(counts_K, 1)
    others = np.maximum(counts.sum() - counts, 1)
    return np.stack([1 / counts, 0.05 * np.log(others / counts)]).astype(np.float32)
