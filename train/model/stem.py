"""The stem, a network's first convolution: a shorter stride makes maps finer and all that follows slower."""

from typing import Any

from torch import nn

from birdcache.errors import TrainError


def change_stem_stride(backbone: nn.Module, name: str, stride: int) -> None:
    """Let the first convolution move by `stride` cells; its weights stay as they are.

    A TrainError if the backbone does not begin with one convolution, or one that moves by fewer cells already.

    Source: BirdCLEF's winners, who train EfficientNets with a stem of stride 1.
    """
    timm_backbone: Any = backbone
    path = timm_backbone.pretrained_cfg.get("first_conv")
    stem: Any = dict(backbone.named_modules()).get(path) if isinstance(path, str) else None
    if stem is None or hasattr(backbone, "patch_embed") or stem.stride[0] < stride:
        raise TrainError(
            f"params.yaml: stem_stride = {stride}: backbone {name} does not begin with one convolution of at least "
            "this stride (networks of patches do not); set stem_stride: null, or choose a convolutional backbone such "
            "as efficientnet_b0"
        )
    stem.stride = (stride, stride)
