"""Heads: from a backbone's features to logits.

B batch, C channel, M mel bin, T frame, K class; a backbone's maps have fewer mel bins and frames than the spectrogram.
"""

import math
from typing import Any

import torch
from timm.layers import SelectAdaptivePool2d  # type: ignore[attr-defined]
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from train.model.sizes import NO_PADDING, Size, padded, said_by, without_padding

FIRST_EXPONENT = 3.0  # of the generalised mean, as in Radenovic et al. 2018
SMALLEST = 1e-6  # what lower values count as in the generalised mean
HIDDEN = 512  # features of a probe with a hidden layer
AVERAGES = ("avg", "fast", "fastavg")  # timm's names of plain means


class GeneralisedMean(nn.Module):
    """Generalised mean (GeM): (mean of x^p)^(1/p) over some axes, with a learnt exponent p that starts at 3.

    p = 1 is the mean, a large p nearly the maximum. Values below 1e-6 count as 1e-6. The result is float32.

    Source: Radenovic et al. 2018, Fine-tuning CNN image retrieval with no human annotation.
    """

    def __init__(self, axes: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self._axes, self._keepdim = axes, keepdim
        self.exponent = nn.Parameter(torch.full((1,), FIRST_EXPONENT))

    def forward(self, features: Tensor) -> Tensor:
        """Pool features, (B, C, M, T) or (B, M, T, C), over the axes."""
        # in logarithms, since x^p itself leaves the numbers in a silent channel once p has grown
        log_power = self.exponent * features.float().clamp(min=SMALLEST).log()
        count = math.prod([features.shape[axis] for axis in self._axes])  # torch.compile has no generators
        log_mean = torch.logsumexp(log_power, self._axes, self._keepdim) - math.log(count)
        return (log_mean / self.exponent).exp()


class Probe(nn.Module):
    """A classifier of the mean over a clip's windows of another network's embedding; its parts are named as timm's.

    Source: linear probes, Alain & Bengio 2017; on embeddings of bird models, Ghani et al. 2023.
    """

    def __init__(self, dimensions: int, classes: int, member: Member) -> None:
        super().__init__()
        hidden = [nn.Linear(dimensions, HIDDEN), nn.GELU()] if member.head == "mlp" else []
        self.features, self.num_features = nn.Sequential(*hidden), HIDDEN if hidden else dimensions
        self.classifier = nn.Sequential(nn.Dropout(member.dropout), nn.Linear(self.num_features, classes))

    def forward_features(self, windows_B1DW: Tensor) -> Tensor:
        """Features (B, E) of the windows of clips, as images of one channel."""
        features: Tensor = self.features(windows_B1DW.mean(dim=3)[:, 0])
        return features

    def forward_head(self, features_BE: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, K) of features, or these as they are."""
        logits: Tensor = features_BE if pre_logits else self.classifier(features_BE)
        return logits

    def forward(self, windows_B1DW: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.forward_head(self.forward_features(windows_B1DW))

    def get_classifier(self) -> nn.Module:
        """What always starts from random values."""
        return self.classifier


class FrameAttention(nn.Module):
    """Sound event detection (SED): every frame has logits, and each class weighs the frames by an attention of its own.

    Mel bins are pooled, then two 1x1 convolutions over time give a(t) and z(t) of each class. The clip's logit is
    sum_t softmax_t(tanh a(t)) z(t), the loudest frame's max_t z(t); both in float32.

    Source: the attention block of PANNs (Kong et al. 2020) without its extra dense layer, on logits instead of
    probabilities, as in the SED models of BirdCLEF's winners. Its first weights are Xavier's, as there.
    """

    def __init__(self, channels: int, classes: int, pool: str, dropout: float, frame_share: float = 0.0) -> None:
        """In inference the clip's logit is `frame_share` of the loudest frame's and the rest of its own."""
        super().__init__()
        self._frame_share = frame_share
        self.pool = GeneralisedMean((2,), keepdim=False) if pool == "gem" else None
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.Conv1d(channels, classes, 1)
        self.frames = nn.Conv1d(channels, classes, 1)
        for convolution in (self.attention, self.frames):
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the clip and of each class's loudest frame, (B, K) each, from maps (B, C, M, T)."""
        pooled_BCT = self.dropout(features.mean(dim=2) if self.pool is None else self.pool(features))
        attention_BKT = torch.tanh(self.attention(pooled_BCT).float()).softmax(dim=2)
        frames_BKT = self.frames(pooled_BCT).float()
        clip_BK, loudest_BK = (attention_BKT * frames_BKT).sum(dim=2), frames_BKT.amax(dim=2)
        if self._frame_share and not self.training:
            clip_BK = torch.lerp(clip_BK, loudest_BK, self._frame_share)
        return clip_BK, loudest_BK


def attend_to_frames(
    backbone: nn.Module, member: Member, classes: int, shape: tuple[int, int, int], padding: Size = NO_PADDING
) -> FrameAttention:
    """A head over frames for the backbone, which loses its own.

    A TrainError if the backbone's features are not maps over mel bins and frames.

    Parameters
    ----------
    shape : channels, mel bins and frames of the clips.
    padding : of them, before the backbone sees them.
    """
    timm_backbone: Any = backbone
    _leave_out_head(backbone, member.backbone, shape, padding)
    return FrameAttention(timm_backbone.num_features, classes, member.pool, member.dropout, member.frame_share)


def features_of(backbone: nn.Module, images: Tensor, padding: Size = NO_PADDING) -> Any:
    """A backbone's features as it gives them to its head; if maps, without the cells that see nothing but padding."""
    timm_backbone: Any = backbone
    features = timm_backbone.forward_features(padded(images, padding))
    return without_padding(features, images, padding, rows=1 if _channels_last(backbone) else 2)


def feature_maps(backbone: nn.Module, images: Tensor, padding: Size = NO_PADDING) -> Tensor:
    """A backbone's features as maps (B, C, M, T), whichever order of axes it works in.

    A transformer's tokens (B, N, C) are put back into the grid of their patches; those of no patch are left out.
    """
    features: Tensor = features_of(backbone, images, padding)
    patches: Any = getattr(backbone, "patch_embed", None)
    if features.ndim == 3 and hasattr(patches, "dynamic_feat_size"):
        rows, columns = (size + more for size, more in zip(images.shape[2:], padding, strict=True))
        tokens_BCN = features[:, getattr(backbone, "num_prefix_tokens", 0) :].transpose(1, 2)
        maps = tokens_BCN.reshape(*tokens_BCN.shape[:2], *patches.dynamic_feat_size((rows, columns)))
        features = without_padding(maps, images, padding, rows=2)
    return features.permute(0, 3, 1, 2) if _channels_last(backbone) else features


def _channels_last(backbone: nn.Module) -> bool:
    return getattr(backbone, "output_fmt", None) == "NHWC"


def generalise_pool(backbone: nn.Module, name: str, by_axis: bool) -> None:
    """Replace the backbone's global average pooling by a generalised mean, or by one over mel bins and one over frames.

    A TrainError if the backbone has no such pooling.
    """
    pools = [
        (path, module)
        for path, module in backbone.named_modules()
        if isinstance(module, SelectAdaptivePool2d) and module.pool_type in AVERAGES
    ]
    if len(pools) != 1:
        raise TrainError(
            f"params.yaml: pool = {'gem_axes' if by_axis else 'gem'!r}: backbone {name} does not end in timm's average "
            "pooling of maps, which GeM replaces; set pool: avg, or choose a convolutional backbone such as "
            "efficientnet_b0"
        )
    path, pool = pools[0]
    pooled = pool(torch.zeros(1, 2, 3, 4))  # shows which axes it pools, and how many are left
    axes = (1, 2) if pooled.shape[-1] == 4 else (2, 3)
    both = GeneralisedMean(axes, keepdim=pooled.ndim == 4)
    over_bins = GeneralisedMean(axes[:1], keepdim=True)
    backbone.set_submodule(path, nn.Sequential(over_bins, both) if by_axis else both)


@torch.enable_grad()
def _leave_out_head(backbone: nn.Module, name: str, shape: tuple[int, int, int], padding: Size) -> None:
    """Replace what comes after the feature maps by nothing: parameters without a gradient would stop DDP."""
    learnt = {path: tensor for path, tensor in backbone.named_parameters() if tensor.requires_grad}
    features = _probed(backbone, name, shape, padding)
    gradients = torch.autograd.grad(features.sum(), list(learnt.values()), allow_unused=True)
    used = {path.split(".")[0] for path, gradient in zip(learnt, gradients, strict=True) if gradient is not None}
    for child in {path.split(".")[0] for path in learnt} - used:
        backbone.set_submodule(child, nn.Identity())


def _probed(backbone: nn.Module, name: str, shape: tuple[int, int, int], padding: Size) -> Tensor:
    """Maps (1, C, M, T) of a silent spectrogram, refused if they are none."""
    channels = getattr(backbone, "num_features", None)
    training, silence = backbone.training, next(backbone.parameters()).new_zeros(1, *shape)
    try:
        features = feature_maps(backbone.eval(), silence, padding)
        found = f"are of shape {tuple(features.shape)}"
    except Exception as error:  # of a foreign network, which may raise any
        features = silence[0]
        found = f"cannot be computed for {shape[1]} mel bins and {shape[2]} frames ({said_by(error)})"
    backbone.train(training)
    if features.ndim != 4 or features.shape[1] != channels:
        raise TrainError(
            f"params.yaml: head = 'sed': backbone {name} has no feature maps over mel bins and frames: its features "
            f"{found}; set head: linear, or choose a convolutional backbone such as efficientnet_b0"
        )
    return features
