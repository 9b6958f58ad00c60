"""Models: any timm backbone on spectrograms, from scratch, from pretrained weights or from another member's.

B batch, C channel, M mel bin, T frame, K class, E feature.
"""

import difflib
import warnings
from typing import Any, NamedTuple, Self

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from train.augment.normalise import BinStatistics
from train.model.heads import (
    FrameAttention,
    GeneralisedMean,
    Probe,
    attend_to_frames,
    feature_maps,
    features_of,
    generalise_pool,
)
from train.model.pretrained import check_source, conversions, take_weights
from train.model.sizes import NO_PADDING, Clips, Fit, Size, create, fit, opened, refused, said_by
from train.model.stem import change_stem_stride
from train.model.weight_file import check_values
from train.model.weight_source import find_source

PROBE_FRAMES = 128  # of the silent spectrogram that shows what features look like, where no clip's length is known
TENSOR_CORES = (7, 0)  # lowest compute capability of GPUs that have them


class Logits(NamedTuple):
    """The output of a model for a batch; in training K columns for each sample of dropout."""

    clip: Tensor  # (B, K)
    frame_max: Tensor | None = None  # (B, K) of each class's loudest frame, if the head has frames
    projected: Any = None  # (B, D) for a teacher, in training


class Classifier(nn.Module):
    """A backbone with its head, and the statistics that its input was normalised with."""

    bin_mean: Tensor
    bin_deviation: Tensor
    pretrained = ""  # what was taken of a file of weights, in words

    def __init__(
        self,
        backbone: nn.Module,
        mel_bins: int,
        head: FrameAttention | None = None,
        channels: int = 1,
        padding: Size = NO_PADDING,
        samples: int = 1,
        image_size: Size | None = None,
    ) -> None:
        """Without a head of its own, the model is what timm makes of the backbone: pooling and classifier."""
        super().__init__()
        self.backbone, self.head, self.padding, self._samples = backbone, head, padding, samples
        self.image_size = image_size
        self.frozen = False  # whether only the head learns
        self._constants = {name for name, tensor in backbone.named_parameters() if not tensor.requires_grad}
        self.register_buffer("bin_mean", torch.zeros(channels, mel_bins))
        self.register_buffer("bin_deviation", torch.ones(channels, mel_bins))

    @property
    def statistics(self) -> BinStatistics:
        """Mean and deviation of each channel's mel bins over the recordings that the model was trained on."""
        return BinStatistics(self.bin_mean, self.bin_deviation)

    @statistics.setter
    def statistics(self, statistics: BinStatistics) -> None:
        self.bin_mean.copy_(statistics.mean)
        self.bin_deviation.copy_(statistics.deviation)

    def forward(self, images: Tensor) -> Logits:
        """Logits of images (B, C, M, T)."""
        images = self.resized(images)
        if self.head is not None:
            return self.judged(feature_maps(self.backbone, images, self.padding))
        if self.padding == NO_PADDING and self._samples == 1:
            return Logits(self.backbone(images))
        return self.judged(features_of(self.backbone, images, self.padding))

    def resized(self, images: Tensor) -> Tensor:
        """Images of the size that the backbone sees: bilinear, and means of cells where there are to be fewer."""
        if self.image_size is None:
            return images
        return functional.interpolate(images.float(), self.image_size, mode="bilinear", antialias=True)

    def judged(self, features: Any) -> Logits:
        """Logits of what the backbone gives to its head; in training of all samples of dropout, (B, S K)."""
        head: Any = self.head or self.backbone.forward_head
        found = [head(features) for _ in range(self._samples if self.training else 1)]
        columns = zip(*found, strict=True) if self.head else [found]
        return Logits(*(torch.cat(each, dim=1) for each in columns))

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters that always start from random values: the classifier, or the head over frames; GeM's exponent."""
        found = (tensor for module in self._head_modules() for tensor in module.parameters())
        return list(dict.fromkeys(found))  # a few classifiers of timm contain the pooling

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All other parameters that can be learnt, frozen or not."""
        head = set(self.head_parameters())
        named = self.backbone.named_parameters()
        return [tensor for name, tensor in named if name not in self._constants and tensor not in head]

    def freeze_backbone(self, frozen: bool) -> None:
        """Let only the head learn, or all of the model again.

        A frozen backbone has no gradients, and its batch norms use and keep the statistics that they have, in training
        too: `train` leaves them in evaluation mode. Otherwise they would follow the new data while nothing else does.
        Its dropout and stochastic depth stay on.
        """
        self.frozen = frozen
        for tensor in self.backbone_parameters():
            tensor.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; the batch norms of a frozen backbone stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            head = {part for module in self._head_modules() for part in module.modules()}
            for part in set(self.backbone.modules()) - head:
                if hasattr(part, "running_var"):
                    part.eval()
        return self

    def recompute(self) -> None:
        """Activation checkpointing: keep few activations for the backward pass, and compute the others once more.

        Batch norms then see each batch twice, so their running statistics move faster; the gradients are the same.

        A TrainError if timm offers none for this backbone.
        """
        backbone: Any = self.backbone
        try:
            backbone.set_grad_checkpointing(True)
        except (AssertionError, AttributeError):
            raise TrainError(
                f"params.yaml: recompute = true: timm has no activation checkpointing for backbone "
                f"{self._architecture}; set recompute: false and lower batch_size instead"
            ) from None

    @torch.no_grad()
    def check_clips(self, clips: Clips) -> None:
        """Refuse clips of a size that the model cannot process; a TrainError if a silent clip does not come through."""
        training, channels = self.training, len(self.bin_mean)
        try:
            self.eval()(self.bin_mean.new_zeros(1, channels, *clips.size))
        except Exception as error:  # of a foreign network, which may raise any
            seen = clips._replace(image_size=self.image_size)
            raise TrainError(refused(self._architecture, seen, channels, said_by(error))) from error
        self.train(training)

    @property
    def _architecture(self) -> str:
        backbone: Any = self.backbone
        return str(backbone.pretrained_cfg.get("architecture"))

    def _head_modules(self) -> list[nn.Module]:
        if self.head is not None:
            return [self.head]
        backbone: Any = self.backbone
        classifier = backbone.get_classifier()  # distilled transformers have a tuple of two
        pools = [module for module in backbone.modules() if isinstance(module, GeneralisedMean)]
        return [*(classifier if isinstance(classifier, tuple) else (classifier,)), *pools]


def build_model(
    member: Member, classes: int, mel_bins: int, pretrained: bool | str, channels: int = 1, clips: Clips | None = None
) -> Classifier:
    """Create the member's model: its backbone, and its head of `classes` logits.

    A TrainError if timm has no such backbone, the weights are missing or do not fit, or the backbone cannot have such a
    head or process such clips.

    Parameters
    ----------
    mel_bins : of the view.
    pretrained : False (random weights), True (timm downloads its own), the path of a file of weights, or a trained
        model (see `train.model.weight_file`). The stem is adapted to the channels; the head of file or model is left
        out, a fresh one takes its place.
    channels : of the images.
    clips : that the model will see; without them it takes images of whatever size the backbone does.
    """
    if member.is_probe:
        return Classifier(Probe(mel_bins, classes, member), mel_bins, samples=member.dropout_samples)
    check_backbone(member.backbone)
    where = f"params.yaml: pretrained = {pretrained!r}"
    source = find_source(pretrained) if isinstance(pretrained, str) else None
    if source:
        check_source(source, member.backbone, where)
    image_size = (member.image_size[0], member.image_size[1]) if member.image_size else None
    size = image_size or (clips.size if clips else (mel_bins, PROBE_FRAMES))
    fitting = (
        fit(member.backbone, clips._replace(image_size=image_size), channels) if clips else Fit(opened(member.backbone))
    )
    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels, **fitting.options}
    if member.head == "linear":
        options["drop_rate"] = member.dropout
    if member.drop_path:
        options["drop_path_rate"] = member.drop_path  # not every backbone has this option
    try:
        with conversions(bool(source)) as filters:
            backbone = create(member.backbone, {**options, "pretrained": pretrained is not False})
    except Exception as error:  # of a foreign network, which may raise any
        raise TrainError(
            f"params.yaml: backbone {member.backbone} cannot be built with pretrained = {pretrained!r} and "
            f"drop_path = {member.drop_path}: {error}; correct the member"
        ) from error
    told = ""
    if source:
        made_for = fitting.options.get("img_size")
        told = take_weights(backbone, source, [] if source.trained else filters, channels, made_for, where).told
    elif pretrained:
        check_values(where, backbone.state_dict())
    if member.stem_stride:
        change_stem_stride(backbone, member.backbone, member.stem_stride)
    head = None
    if member.head == "sed":
        head = attend_to_frames(backbone, member, classes, (channels, *size), fitting.padding)
    elif member.pool != "avg":
        generalise_pool(backbone, member.backbone, by_axis=member.pool == "gem_axes")
    model = Classifier(backbone, mel_bins, head, channels, fitting.padding, member.dropout_samples, image_size)
    model.pretrained = told
    return model


def check_backbone(backbone: str, key: str = "params.yaml: backbone") -> None:
    """Refuse a name that timm has no network of; `key` is what names it, for the message of the TrainError."""
    if timm.is_model(backbone):
        return
    alike = ", ".join(difflib.get_close_matches(backbone, timm.list_models(), n=10, cutoff=0.5))
    hint = f"similar names: {alike}" if alike else "choose one of timm.list_models()"
    raise TrainError(f"{key} = {backbone!r}: timm has no such model; {hint}")


def choose_device(wanted: str) -> torch.device:
    """The device that `machine.device` (auto, cpu, cuda) names; auto takes a GPU if there is one.

    A TrainError if a GPU is demanded and there is none.
    """
    with warnings.catch_warnings(record=True) as caught:  # in which torch says that a driver is too old
        warnings.simplefilter("always")
        available = wanted != "cpu" and torch.cuda.is_available()
    why = f" ({str(caught[0].message).partition('. ')[0]})" if caught else ""
    if wanted == "cuda" and not available:
        raise TrainError(
            f"params.yaml: machine.device = 'cuda': no GPU can be used here{why}; see `birdcache doctor`, or set it to "
            "auto"
        )
    if why and not available:
        print(f"warning: no GPU is used{why}; update its driver, or set machine.device: cpu")
    return torch.device("cuda" if available else "cpu")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Type of mixed precision, from the recipe; None = float32, which is TF32 in this process only as `tf32`.

    auto is bfloat16 on GPUs that compute in it, float16 on others that have tensor cores, none elsewhere.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TENSOR_CORES:
        return None
    # by default torch counts GPUs that only emulate it
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def features_and_logits(network: Classifier, images: Tensor) -> tuple[Tensor, Logits]:
    """Pooled features (B, E) and logits of images (B, C, M, T).

    A head over frames sees maps, so that its features are the mean of these over mel bins and frames.
    """
    backbone: Any = network.backbone
    images = network.resized(images)
    if network.head is None:
        features = features_of(backbone, images, network.padding)
        return backbone.forward_head(features, pre_logits=True), network.judged(features)
    maps = feature_maps(backbone, images, network.padding)
    return maps.mean(dim=(2, 3)), network.judged(maps)
