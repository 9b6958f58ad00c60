"""Networks under the names of torchvision and Hugging Face: their modules stand in timm's order.

ConvNeXt, EfficientNet, MobileNet. Names alone do not say the order of a file, which may be that of the alphabet, so the
words in them are ranked. Shapes are compared later, as for any file.
"""

from torch import Tensor, nn

# words in names of modules: of two neighbours in a network, the word of the one that comes first stands further left
WORDS = (
    "embeddings patch_embeddings convolution batchnorm encoder stages downsampling_layer layers dwconv layernorm "
    "pwconv1 grn pwconv2 blocks expansion expand_conv expand_bn depthwise_conv depthwise_norm squeeze_excite reduce "
    "expand projection project_conv project_bn top_conv top_bn features block conv fc1 fc2 classifier"
)
SCALES = {"layer_scale": "gamma", "layer_scale_parameter": "gamma"}  # tensors that have another name


def in_order(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Tensors under the names that their modules have in the backbone, by the order of both.

    A ValueError if a name holds another word or begins with a number, so that it is no whole name, or the number of
    modules differs by more than the head.
    """
    theirs = sorted({name.rpartition(".")[0] for name in state}, key=_place)
    if theirs[0][:1].isdigit():
        raise ValueError(f"{theirs[0]} is no whole name")
    own = [name for name, module in backbone.named_modules() if list(module.parameters(recurse=False))]
    names = dict(zip(theirs, own[: max(len(theirs), len(own) - 1)], strict=True))
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    renamed = {}
    for name, tensor in state.items():
        module, _, last = name.rpartition(".")
        new = f"{names[module]}.{SCALES.get(last, last)}"
        is_alike = new in shapes and tensor.squeeze().shape == tuple(size for size in shapes[new] if size > 1)
        renamed[new] = tensor.reshape(shapes[new]) if is_alike else tensor
    return renamed


def _place(module: str) -> list[tuple[int, int]]:
    return [(0, int(word)) if word.isdigit() else (1, WORDS.split().index(word)) for word in module.split(".")]
