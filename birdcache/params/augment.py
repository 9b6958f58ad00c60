"""Augmentation of a batch on the device. Section `train.<recipe>.augment` of params.yaml."""

from __future__ import annotations

from operator import ge
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from birdcache.params.checks import beside, kept
from birdcache.params.sections import CountOrNone, Decibels, NonNegative, Positive, Probability, Seconds, Section

LabelRule = Literal["lambda", "max", "sum"]
Alpha = Annotated[float, Field(ge=1e-3, le=1000)]  # of Beta(alpha, alpha)
_OF_A_CLIP = kept(
    lambda over: not {"windows", "windows_override"} & {*over}, "holds windows or itself; remove it there"
)
Ratio = Annotated[float, Field(ge=-200, le=200)]  # in dB


class MixupParams(Section):
    """A share of a clip and the rest of another one, added as power; or a share of that and the rest of a third one.

    Source: mixup, Zhang et al. 2018; on power, with labels `max` (all birds sing), as BirdCLEF's winners do, some of
    them with a drawn number of clips.
    """

    probability: Probability
    alpha: Alpha
    labels: LabelRule
    third: Probability = 0.0


class SumixParams(Section):
    """Another clip on top, its power changed by a drawn gain: two birds that sing at once.

    Source: "sumix" of BirdCLEF's winners, as against mixup's weighted mean.
    """

    probability: Probability
    gain_db: Decibels
    labels: LabelRule


class CutmixParams(Section):
    """A span of time from another clip.

    Source: CutMix, Yun et al. 2019, along time only.
    """

    probability: Probability
    alpha: Alpha
    labels: LabelRule


class EqParams(Section):
    """Bands of mel bins, each made quieter or louder by drawn decibels: other microphones, distance, foliage.

    Sources: BirdCLEF's winners, four bands by 0 to -20 dB; with a drawn number of bands FilterAugment, Nam et al. 2022.
    """

    probability: Probability
    bands: Annotated[int, Field(ge=2, le=16)]
    depth_db: Decibels
    boost_db: Decibels = 0.0
    smooth: bool = True
    fewest_bands: Annotated[
        Annotated[int, Field(ge=1)] | None,
        beside(
            "bands", lambda fewest, bands: fewest is None or fewest <= bands, "must be at most bands ({}); lower it"
        ),
    ] = None


class LowpassParams(Section):
    """Frequencies above a drawn one fall off: other recorders and codecs.

    Source: BirdCLEF's winners; the cutoff is even in octaves from `lowest_hz` to the view's highest frequency.
    """

    probability: Probability = 0.0
    lowest_hz: Positive = 4000.0
    db_per_octave: Decibels = 12.0


class DistanceParams(Section):
    """High frequencies absorbed by air: up to `most_db` at the view's highest one, and less by the square of frequency.

    Source: classical absorption, to which ISO 9613-1 adds that of oxygen and nitrogen.
    """

    probability: Probability = 0.0
    most_db: Decibels = 20.0


class TempoParams(Section):
    """A clip slower or faster by up to a share at the same pitch: its frames resampled; one that ends begins again.

    Source: SpecAugment's time warping (Park et al. 2019), here of the whole clip.
    """

    probability: Probability = 0.0
    most: Annotated[float, Field(gt=0, le=0.5)] = 0.1


class MixstyleParams(Section):
    """Loudness and contrast of each mel bin, over a clip's frames in dB, mixed with those of another clip.

    Sources: MixStyle, Zhou et al. 2021; of frequencies, Kim et al. 2022. Winners of 2026 used it.
    """

    probability: Probability = 0.0
    alpha: Alpha = 0.3


class ReverseParams(Section):
    """A clip played backwards, for sounds that are not told apart by their order."""

    probability: Probability = 0.0


class ShorterParams(Section):
    """A part of a clip of another length, padded or looped as short recordings are: a network learns two lengths."""

    probability: Probability = 0.0
    clip_s: Seconds = 2.5


class _AddedSound(Section):
    """A sound added under the clip at a drawn signal-to-noise ratio."""

    probability: Probability
    lowest_snr_db: Ratio
    highest_snr_db: Annotated[Ratio, beside("lowest_snr_db", ge, "must be at least lowest_snr_db ({:g}); raise it")]


class BackgroundParams(_AddedSound):
    """A recording without birds under the clip.

    Source: BirdCLEF's winners, with probability 0.5 at 0 to 3 dB.
    """

    label: Annotated[str, Field(min_length=1)]


class NoiseParams(_AddedSound):
    """Noise of even power per hertz (white) or per octave (pink) under the clip."""

    colour: Literal["white", "pink"]


class SpecAugmentParams(Section):
    """Masks over mel bins and frames.

    Source: SpecAugment, Park et al. 2019, without time warping.
    """

    mel_masks: CountOrNone
    mel_width: CountOrNone
    time_masks: CountOrNone
    time_width: CountOrNone
    probability: Probability


class AugmentParams(Section):
    """Augmentation of a batch on the device."""

    gain_db: Decibels
    time_shift_s: NonNegative
    mixup: MixupParams
    sumix: SumixParams
    cutmix: CutmixParams
    eq: EqParams
    background: BackgroundParams
    noise: NoiseParams
    spec_augment: SpecAugmentParams
    mixstyle: MixstyleParams = MixstyleParams()
    reverse: ReverseParams = ReverseParams()
    lowpass: LowpassParams = LowpassParams()
    distance: DistanceParams = DistanceParams()
    tempo: TempoParams = TempoParams()
    shorter: ShorterParams = ShorterParams()
    windows: Probability = 1.0
    windows_override: Annotated[dict[str, Any], Field(default_factory=dict), _OF_A_CLIP]

    @model_validator(mode="after")
    def _one_partner_a_clip(self) -> AugmentParams:
        if self.mixup.probability + self.sumix.probability + self.cutmix.probability > 1:
            raise ValueError(
                "the probabilities of mixup, sumix and cutmix add up to over 1, but a clip gets one partner; lower them"
            )
        return self
