"""Views: named front ends, one store each. Sections `views.<view>` of params.yaml."""

from collections.abc import Iterable, Sequence
from operator import gt, le
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from birdcache.params.checks import beside, kept
from birdcache.params.embedding import EmbeddingView, StoredEmbedding
from birdcache.params.sections import Count, NonNegative, Positive, Section


class _ViewBase(Section):
    sample_rate_hz: Annotated[int, Field(ge=8000, le=500_000)]
    n_fft: Annotated[int, Field(ge=64, le=16384), kept(lambda n_fft: n_fft % 2 == 0, "must be even; use one more")]
    hop: Annotated[
        Count, beside("n_fft", le, "must be at most the window n_fft ({}), or samples are skipped; lower hop")
    ]
    n_mels: Annotated[int, Field(ge=8, le=512)]
    mel_scale: Literal["slaney", "htk"]
    fmin_hz: NonNegative
    fmax_hz: Annotated[
        Positive,
        beside(
            "sample_rate_hz",
            lambda fmax_hz, rate: fmax_hz <= rate / 2,
            "must be at most Nyquist, half of sample_rate_hz ({}); lower fmax_hz",
        ),
        beside("fmin_hz", gt, "must be above fmin_hz ({:g}); raise fmax_hz or lower fmin_hz"),
    ]
    dtype: Literal["float16", "uint8"]
    compression: Literal["none", "lz4", "zstd"]
    win_length: Annotated[
        Annotated[int, Field(ge=32)] | None,
        beside("n_fft", lambda length, n_fft: (length or n_fft) <= n_fft, "must be at most n_fft ({}); raise that"),
        beside("hop", lambda length, hop: (length or hop) >= hop, "must be at least hop ({}), or samples are skipped"),
    ] = None
    mel_norm: Literal["slaney", "none"] = "slaney"

    @property
    def window(self) -> int:
        """Samples of the window that are not zero."""
        return self.win_length or self.n_fft

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """No keys at their defaults, so that a key that is added changes no digest and no file of other views."""
        defaults = {key: field.default for key, field in type(self).model_fields.items() if not field.is_required()}
        return {key: value for key, value in dump(self).items() if key not in defaults or value != defaults[key]}

    def frames(self, duration_s: float) -> int:
        """Number of frames that cover `duration_s` seconds, rounded up."""
        samples = duration_s * self.sample_rate_hz
        return int(-(-samples // self.hop))


class MelView(_ViewBase):
    """Un-normalised log mel power in dB."""

    kind: Literal["mel"]
    power: Annotated[float, kept(lambda power: power in (1, 2), "must be 2.0 (power) or 1.0 (magnitude)")] = 2.0
    log_offset: NonNegative = 0.0


class PcenParams(Section):
    """Per-channel energy normalisation (Wang et al. 2017); names as in librosa.pcen."""

    gain: Annotated[float, Field(ge=0, le=10)]
    bias: NonNegative
    power: Annotated[float, Field(ge=0, le=10)]
    time_constant_s: Annotated[float, Field(ge=1e-3, le=3600)]
    eps: Annotated[float, Field(ge=1e-12, le=1e15)]


class PcenView(_ViewBase):
    """Mel energy after per-channel energy normalisation over the whole recording."""

    kind: Literal["pcen"]
    pcen: PcenParams


View = Annotated[MelView | PcenView, Field(discriminator="kind")]  # of spectrograms, on which members train
ViewParams = Annotated[MelView | PcenView | EmbeddingView, Field(discriminator="kind")]
StoredView = Annotated[MelView | PcenView | StoredEmbedding, Field(discriminator="kind")]

GEOMETRY = ("sample_rate_hz", "hop", "n_mels", "mel_scale", "fmin_hz", "fmax_hz")


class MultiView(Section):
    """Several views of one geometry, whose images are channels of one: a pixel means the same time and frequency.

    No entry of params.yaml, but the view of a member with `more_views`. Wherever frames, hop or mel bins are asked
    for, it answers as any of its views.
    """

    kind: Literal["multi_view", "side_by_side"]  # the second: models of earlier versions
    views: Annotated[list[View], Field(min_length=2)]

    @property
    def sample_rate_hz(self) -> int:
        """Of all its views."""
        return self.views[0].sample_rate_hz

    @property
    def hop(self) -> int:
        """Of all its views."""
        return self.views[0].hop

    @property
    def n_mels(self) -> int:
        """Of each of its views."""
        return self.views[0].n_mels

    def frames(self, duration_s: float) -> int:
        """Number of frames that cover `duration_s` seconds, rounded up."""
        return self.views[0].frames(duration_s)


AnyView = Annotated[MelView | PcenView | StoredEmbedding | MultiView, Field(discriminator="kind")]


def stored_views(view: AnyView) -> Sequence[StoredView]:
    """The single views of a view, each with a store of its own, in the order of their channels."""
    return view.views if isinstance(view, MultiView) else [view]


def each_of(view: AnyView) -> list[MelView | PcenView]:
    """The spectrograms of a view, in the order of their channels; an embedding view has none."""
    if isinstance(view, StoredEmbedding):
        return []
    return view.views if isinstance(view, MultiView) else [view]


def band_hz(views: Iterable[AnyView]) -> tuple[float, float]:
    """The lowest and the highest frequency of some views; an embedding view has all up to half of its rate."""
    bands = [
        (0.0, one.sample_rate_hz / 2) if isinstance(one, StoredEmbedding) else (one.fmin_hz, one.fmax_hz)
        for view in views
        for one in stored_views(view)
    ]
    return min(low for low, _ in bands), max(high for _, high in bands)


def describes(view: ViewParams | StoredView, stored: StoredView) -> bool:
    """True if a store with this view is one of the other, as params.yaml or another store has that."""
    return stored == view or (isinstance(stored, StoredEmbedding) and stored.is_of(view))


def multi_view(views: Sequence[StoredView]) -> AnyView:
    """One view as it is, several as one."""
    spectrograms = [one for view in views for one in each_of(view)]
    return views[0] if len(views) == 1 else MultiView(kind="multi_view", views=spectrograms)


def unlike(one: StoredView, other: StoredView) -> list[str]:
    """The keys of geometry in which two views differ, so that their images cannot be channels of one."""
    return [key for key in GEOMETRY if getattr(one, key, None) != getattr(other, key, None)]
