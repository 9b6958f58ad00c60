"""Sizes of clips: how a backbone takes them, as they are, padded to its stride, or made for them by timm's `img_size`.

timm tells only in part what sizes a network takes, so a silent clip is tried: on torch's device meta, where tensors
have shapes but no values, that takes a second at most, however large the network is.

B batch, C channel, M mel bin, T frame.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.views import AnyView

Size = tuple[int, int]  # mel bins and frames
Options = dict[str, Any]  # of timm.create_model
NO_PADDING: Size = (0, 0)

# timm's options that let some transformers take images of any size; convolutional backbones have and need none
ANY_SIZE: tuple[Options, ...] = ({"dynamic_img_size": True, "dynamic_img_pad": True}, {"strict_img_size": False})
USUAL_STRIDE = 32  # of a backbone that does not tell its own
MOST_PADDED = 1.5  # times as many cells as the clip has; who pads more had better take other clips
LARGE = 100_000_000  # parameters, which would take several seconds to fill with random values


class Clips(NamedTuple):
    """The clips of a member, all of one size."""

    view: AnyView
    clip_s: float
    image_size: Size | None = None

    @property
    def size(self) -> Size:
        """Mel bins and frames, or what they are resized to."""
        return self.image_size or (self.view.n_mels, self.view.frames(self.clip_s))

    def keys_for(self, size: Size) -> str:
        """What in params.yaml makes clips of a size."""
        if self.image_size:
            return f"image_size: {list(size)}"
        clip_s = round(size[1] * self.view.hop / self.view.sample_rate_hz, 3)
        if self.view.frames(clip_s) > size[1]:  # rounded up
            clip_s = round(clip_s - 0.001, 3)
        return f"n_mels: {size[0]} with clip_s: {clip_s:g} ({size[1]} frames)"


@dataclass(frozen=True)
class Fit:
    """How a backbone takes clips: options of timm, and mel bins and frames of silence behind the clip's own."""

    options: Options
    padding: Size = NO_PADDING


def create(name: str, options: Options) -> nn.Module:
    """A backbone of timm."""
    backbone: nn.Module = timm.create_model(name, **options)
    return backbone


def padded(images_BCMT: Tensor, padding: Size) -> Tensor:
    """Images with rows and columns behind their own, each as quiet as the quietest cell of its image and channel."""
    for axis, count in zip((2, 3), padding, strict=True):
        if count:
            shape = [count if each == axis else size for each, size in enumerate(images_BCMT.shape)]
            silence = images_BCMT.amin(dim=(2, 3), keepdim=True).expand(shape)
            images_BCMT = torch.cat([images_BCMT, silence], dim=axis)
    return images_BCMT


def without_padding(features: Any, images_BCMT: Tensor, padding: Size, rows: int) -> Any:
    """Maps without the cells that see nothing but padding; features that are no maps as they are.

    Parameters
    ----------
    rows : the axis of mel bins in maps; that of frames follows.
    """
    if any(padding) and isinstance(features, Tensor) and features.ndim == 4:
        for axis, own, count in zip((rows, rows + 1), images_BCMT.shape[2:], padding, strict=True):
            features = features.narrow(axis, 0, -(-features.shape[axis] * own // (own + count)))
    return features


def fit(name: str, clips: Clips, channels: int) -> Fit:
    """The first way in which a backbone takes clips: as they are, padded, or padded and made for this size.

    A TrainError if there is none, with sizes that it would take.
    """
    found = _fit(name, clips.size, channels)
    if isinstance(found, str):
        raise TrainError(refused(name, clips, channels, found))
    return found


@lru_cache(maxsize=64)
def _fit(name: str, clip: Size, channels: int) -> Fit | str:
    """How a backbone takes clips of a size, or what it says against them."""
    options = opened(name)
    if (said := refusal(name, options, channels, clip)) is None:
        return Fit(options)
    stride = _stride(name)
    for step in (stride, 2 * stride, 4 * stride):
        bins, frames = (-(-length // step) * step for length in clip)
        is_small = bins * frames <= MOST_PADDED * clip[0] * clip[1]
        for each in (options, {"img_size": (bins, frames)}):
            if is_small and refusal(name, each, channels, (bins, frames)) is None:
                return Fit(each, (bins - clip[0], frames - clip[1]))
    return said


def opened(name: str) -> Options:
    """The options that let a backbone take images of any size, if it has such."""
    for options in ANY_SIZE:
        try:
            with trial("meta"):
                create(name, options)
        except TypeError as error:
            if any(option in str(error) for option in options):
                continue
        except Exception:  # whatever it is, the trial of a clip will say it
            pass
        return options
    return {}


def refusal(name: str, options: Options, channels: int, size: Size, device: str = "meta") -> str | None:
    """What a backbone says against a silent clip, if anything."""
    try:
        with trial(device):
            network = create(name, {**options, "in_chans": channels, "num_classes": 2}).eval()
            logits = network(torch.zeros(1, channels, *size))
    except Exception as error:  # of a foreign network, which may raise any
        return said_by(error)
    return None if getattr(logits, "shape", None) == (1, 2) else "it does not answer with one logit for each class"


def refused(name: str, clips: Clips, channels: int, said: str) -> str:
    """The message about a backbone that cannot process clips, with what it can."""
    return (
        f"params.yaml: backbone {name} cannot process clips of {clips.size[0]} mel bins and {clips.size[1]} frames: "
        f"{said}; {_way_out(name, clips, channels)}change n_mels and clip_s, or choose another backbone"
    )


def _way_out(name: str, clips: Clips, channels: int) -> str:
    """What a backbone takes instead, tried with values, since only these show an index out of bounds."""
    device = "meta" if parameter_count(name) > LARGE else "cpu"
    told: Any = timm.get_pretrained_cfg(name)
    bins, (height, width) = clips.size[0], told.input_size[1:] if told else (224, 224)
    own, options = _fit(name, clips.size, channels), opened(name)

    def takes(size: Size, *ways: Options) -> bool:
        return any(refusal(name, way, channels, size, device) is None for way in ways)

    if isinstance(own, Fit) and takes((bins + own.padding[0], clips.size[1] + own.padding[1]), own.options):
        return "with head: linear and pool: avg it takes them; "
    sizes = dict.fromkeys([(bins, bins), (height, width), (height, 2 * width)])
    if good := [clips.keys_for(size) for size in sizes if takes(size, options, {"img_size": size})]:
        return f"it takes {' or '.join(good)}; "
    return "it takes them with 3 channels; " if isinstance(_fit(name, clips.size, 3), Fit) else ""


def said_by(error: Exception) -> str:
    """What a foreign network raised, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def parameter_count(name: str) -> int:
    """Number of a backbone's parameters."""
    with trial("meta"):
        return sum(tensor.numel() for tensor in create(name, {}).parameters())


def _stride(name: str) -> int:
    """Rows of the image for each row of the coarsest maps, as timm tells."""
    with trial("meta"):
        told: Any = getattr(create(name, {}), "feature_info", None) or ()
    found = [each["reduction"] for each in getattr(told, "info", told) if "reduction" in each]
    return max(found, default=USUAL_STRIDE)


@contextmanager
def trial(device: str) -> Iterator[None]:
    """Without gradients or warnings, and leaving the random numbers of the training as they are."""
    with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
