"""Members, which are named models, and the recipes that train them. Sections `members` and `train` of params.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import le
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from birdcache.params.augment import AugmentParams
from birdcache.params.checks import beside, each_once, kept
from birdcache.params.loss import LossParams
from birdcache.params.sections import (
    Count,
    CountOrNone,
    Decibels,
    Name,
    NonNegative,
    Positive,
    Probability,
    Seconds,
    Section,
    Seed,
)
from birdcache.params.teacher import TeacherParams
from birdcache.params.views import PcenParams

Judge = Literal["recordings", "windows", "both"]


class SharesParams(Section):
    """Shares of an epoch's clips: cut out of recordings, and around labelled windows of soundscapes."""

    recordings: NonNegative = 1.0
    soundscapes: Annotated[
        NonNegative,
        beside("recordings", lambda other, share: other + share > 0, "and recordings are both 0; raise one"),
    ] = 0.0

    @property
    def of_soundscapes(self) -> float:
        """Share of the clips that are windows of soundscapes."""
        return self.soundscapes / (self.recordings + self.soundscapes)


class SamplingParams(Section):
    """The recordings that an epoch draws, and their order.

    Source: weights (n/N)^-exponent with replacement and a floor of about 20 clips a class, as BirdCLEF's winners do.
    Order `parts` shuffles a few parts of the store at a time, as a loader with a shuffle buffer does, so that a
    compressed or remote store is read once from one end to the other.
    """

    clips_per_epoch: Count | None
    weighted: bool
    exponent: Annotated[float, Field(ge=0, le=2)]
    floor: CountOrNone
    order: Literal["full", "parts"]
    parts_at_once: Count
    shares: SharesParams = SharesParams()


class SecondaryParams(Section):
    """The weight of a secondary label (a bird in the background).

    Source: BirdCLEF's winners count it as 1, as 0.3 to 0.5, or leave it out of the loss.
    """

    policy: Literal["ignore", "positive", "weight", "mask"]
    weight: Probability


class OptimiserParams(Section):
    """Optimiser and learning-rate schedule.

    Sources: AdamW, Loshchilov & Hutter 2019; cosine with warm restarts, Loshchilov & Hutter 2017; warm-up, Goyal et al.
    2017; decay of the rate by layer, Clark et al. 2020; gradient clipping, Pascanu et al. 2013; running mean of the
    weights, Polyak & Juditsky 1992; a frozen backbone first, Howard & Ruder 2018. Other optimisers: timm.optim.
    """

    kind: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]  # stage check compares it with timm's list
    arguments: Annotated[dict[str, float | bool | list[float]], Field(default_factory=dict)]
    lr: Annotated[float, Field(gt=0, le=1000)]
    min_lr: Annotated[NonNegative, beside("lr", le, "must be at most lr ({:g}); lower min_lr")]
    backbone_scale: Positive
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    weight_decay: NonNegative
    warmup_epochs: NonNegative
    schedule: Literal["cosine", "constant"]
    flat_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    cycles: Count
    freeze_epochs: CountOrNone
    clip_norm: NonNegative
    accumulate: Count
    ema_decay: Annotated[float, Field(ge=0, lt=1)]


def _below_epochs(key: str) -> AfterValidator:
    """The rule that a phase of the optimiser ends before the training does."""
    rule = f"{key} must be below epochs ({{}}); lower it or train longer"
    return beside("epochs", lambda optimiser, epochs: getattr(optimiser, key) < epochs, rule)


class Recipe(Section):
    """The training of a member (stage `train`).

    Sources: PCEN, Wang et al. 2017; slope, the deltas of Furui 1986; recomputed activations, Chen et al. 2016; mixed
    precision, Micikevicius et al. 2018; a soup of epochs, Izmailov et al. 2018 (train/model/weights.py); rolled clips,
    test-time augmentation in ensembles of BirdCLEF 2026.
    """

    seed: Seed
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    patience: CountOrNone
    batch_size: Annotated[int, Field(ge=2, le=100_000)]
    clip_s: Seconds
    short: Literal["pad", "loop"]
    trim_db: Decibels
    channels: Annotated[
        list[Literal["level", "pcen", "slope"]], Field(min_length=1, max_length=3), each_once("a channel")
    ]
    pcen: Annotated[
        PcenParams | None,
        beside(
            "channels",
            lambda pcen, channels: pcen is not None or "pcen" not in channels,
            "is needed for the channel pcen; give it the keys of views.pcen.pcen",
        ),
    ]
    dynamic_range_db: Decibels
    normalise: Literal["clip", "bins", "none"]
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"]
    channels_last: bool
    compile: bool
    recompute: bool
    batch_norm: Literal["auto", "joint", "own"] = "auto"
    weights: Literal["last", "best", "soup"]
    soup_epochs: Count
    validate_every: Count = 1
    validation_clips: CountOrNone = 0
    rolls: Annotated[int, Field(ge=1, le=16)] = 1
    judge: Judge = "recordings"
    sampling: SamplingParams
    secondary: SecondaryParams
    loss: Annotated[
        LossParams,
        beside(
            "batch_size",
            lambda loss, size: loss.consistency == 0 or size % 2 == 0,
            "consistency compares the clips of a batch in twos; make batch_size = {} even",
        ),
    ]
    augment: AugmentParams
    optimiser: Annotated[OptimiserParams, _below_epochs("warmup_epochs"), _below_epochs("freeze_epochs")]

    @property
    def of_windows(self) -> Recipe:
        """The recipe of clips on labelled windows; a ValidationError if `augment.windows_override` breaks a rule."""
        own = self.augment.model_dump(exclude={"windows_override"})
        augment = AugmentParams.model_validate(merged(own, self.augment.windows_override))
        return self.model_copy(update={"augment": augment})

    @property
    def of_all_clips(self) -> Recipe:
        """The recipe with all sounds and shifts that clips may have, on windows or not: what batches have room for."""
        both = self.augment, self.of_windows.augment
        most = {
            name: max((getattr(each, name) for each in both), key=lambda value: getattr(value, "probability", value))
            for name, value in self.augment
            if name == "time_shift_s" or hasattr(value, "probability")
        }
        return self.model_copy(update={"augment": self.augment.model_copy(update=most)})


# as timm calls its models, never a place that timm would fetch code's settings or weights from
OF_TIMM = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
BACKBONE_RULE = (
    "must be the name of a model in timm.list_models(), no path, hf-hub: or local-dir:; for weights from elsewhere set "
    "pretrained to their .safetensors file"
)


Pixels = Annotated[int, Field(ge=16, le=2048)]


class SomeClasses(Section):
    """The classes that a member is for, and how often it draws recordings of others, in proportion.

    Source: specialists for insects and amphibians in ensembles of BirdCLEF 2025 and 2026.
    """

    class_name: Annotated[list[str], Field(min_length=1), each_once("one")]
    others: Probability = 0.1


class Member(Section):
    """A named model: one backbone on one view, or on several views as channels, with one recipe.

    Sources: several views as channels of one image, Palanisamy et al. 2020, Rethinking CNN models for audio
    classification; head `sed`, attention over time as in PANNs (Kong et al. 2020); pool `gem`, Radenovic et al. 2018;
    drop path, Huang et al. 2016; several samples of dropout, Inoue 2019.
    """

    view: Name
    more_views: Annotated[list[Name], Field(max_length=2)]
    recipe: Name
    backbone: Annotated[str, kept(lambda backbone: OF_TIMM.fullmatch(backbone) is not None, BACKBONE_RULE)]
    pretrained: bool | str
    head: Literal["linear", "sed", "mlp"]
    pool: Annotated[
        Literal["avg", "gem", "gem_axes"],
        beside(
            "head",
            lambda pool, head: pool != "gem_axes" or head == "linear",
            "is for head linear, not {}; set pool: gem",
        ),
    ]
    frame_share: Annotated[
        Probability,
        beside(
            "head", lambda share, head: share == 0 or head == "sed", "is for head sed, not {}; set frame_share: 0.0"
        ),
    ] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)]
    dropout_samples: Annotated[
        int,
        Field(ge=1, le=32),
        beside(
            "dropout",
            lambda samples, dropout: samples == 1 or dropout > 0,
            "samples are all the same at dropout 0; raise it, or set dropout_samples: 1",
        ),
    ] = 1
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    image_size: Annotated[list[Pixels], Field(min_length=2, max_length=2)] | None = None
    stem_stride: Annotated[int, Field(ge=1, le=4)] | None = None
    labels: SomeClasses | None = None
    override: dict[str, Any]
    teacher: TeacherParams | None = None

    @property
    def views(self) -> list[str]:
        """Names of all views of the member, in the order of their channels."""
        return [self.view, *self.more_views]

    @property
    def is_probe(self) -> bool:
        """True if it has no backbone of its own, but sees the embedding of another network."""
        return self.backbone == "embedding"


def resolve_recipe(recipe: Recipe, override: Mapping[str, Any]) -> Recipe:
    """A recipe with a member's overrides, nested alike; a ValidationError if a key is unknown or breaks a rule."""
    return Recipe.model_validate(merged(recipe.model_dump(), override))


def completed(name: str, recipes: Mapping[str, Any]) -> Any:
    """A recipe as it stands in a params file; one with a `base` is completed by the recipe whose keys it changes.

    A ValueError if the base is unknown or has a base itself.
    """
    recipe = recipes[name]
    if not is_derived(recipe):
        return recipe
    complete = [str(other) for other, entry in recipes.items() if not is_derived(entry)]
    base = recipe["base"]
    if base not in complete:
        why = "has a base itself" if isinstance(base, str) and base in recipes else "names no recipe"
        raise ValueError(f"base = {base!r}: {why}; choose a complete one: {', '.join(complete)}")
    if not isinstance(recipes[base], Mapping):
        return recipes[base]
    return merged(recipes[base], {key: value for key, value in recipe.items() if key != "base"})


def is_derived(recipe: Any) -> bool:
    """True if a recipe names another one as its base."""
    return isinstance(recipe, Mapping) and "base" in recipe


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` put over its own, section by section."""
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result
