"""Views of kind embedding: what a network in an ONNX file says of each window of a recording.

A frame of such a view is a window: the first begins with the recording, one begins every `hop_s`, and there are as many
as cover it; behind its end is silence.
"""

from operator import le
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from birdcache.files import is_inner_path
from birdcache.params.checks import beside, kept
from birdcache.params.sections import Count, NonNegative, Seconds, Section

FOLDER = "teachers/"
MOST_NUMBERS = 2**15  # of a window: a chunk of a store, which is always whole, then takes 32 MiB
WHOLE = beside(
    "sample_rate_hz",
    lambda seconds, rate: abs(seconds * rate - round(seconds * rate)) < 1e-6,
    "must be a whole number of samples at {} Hz",
)
FILE_RULE = (
    f"must be a path below {FOLDER}, without ..: stage `check` looks for changed files there; copy or link it there"
)


class Output(Section):
    """One output of the network: its columns in a store, from `start` up to `stop`, and their labels, if known."""

    name: str
    start: int
    stop: int
    labels: tuple[str, ...] = ()


class Windows(Section):
    """What decides the windows of a recording, and what is asked of the network."""

    kind: Literal["embedding"]
    sample_rate_hz: Annotated[int, Field(ge=8000, le=192000)]
    window_s: Annotated[Seconds, WHOLE]
    hop_s: Annotated[Seconds, WHOLE, beside("window_s", le, "must be at most window_s ({:g}), or sound is skipped")]
    input: str | None = None
    output: str = "embedding"
    scores: str | None = None
    batch: Annotated[int, Field(ge=1, le=1024)] = 8

    @property
    def names(self) -> list[str]:
        """Names of the outputs that are kept."""
        return [self.output, *([] if self.scores is None else [self.scores])]

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return round(self.hop_s * self.sample_rate_hz)

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def tail(self) -> int:
        """A window but the first is there if its recording has more than so many samples behind the window's begin.

        Up to a tenth of a window is left unheard: encoders add some milliseconds, which are no sound to judge.
        """
        return self.window - self.hop + self.window // 10

    def frames(self, duration_s: float) -> int:
        """Number of hops that cover `duration_s` seconds, rounded up; a recording may have fewer windows."""
        return int(-(-duration_s * self.sample_rate_hz // self.hop))


class EmbeddingView(Windows):
    """Embeddings of windows, and perhaps scores, by a foundation model or a bundle (docs/teachers.md)."""

    file: Annotated[str, kept(lambda path: path.startswith(FOLDER) and is_inner_path(path), FILE_RULE)]
    licence: str = ""
    source: str = ""


class Cut(Section):
    """What one of several inputs takes: so many samples, of which `clip` begin after the first `lead`."""

    name: str
    samples: Count
    lead: Annotated[int, Field(ge=0)]
    clip: Count


class Rows(Windows):
    """The row of a window: `samples` samples that begin `lead` before it; outside the recording they are `outside`.

    `cuts` are of a bundle with several inputs, each of which takes clips out of the row.
    """

    samples: Count
    lead: Annotated[int, Field(ge=0)]
    outside: NonNegative
    cuts: tuple[Cut, ...] = ()

    @model_serializer(mode="wrap")
    def _without_no_cuts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is written of cuts where there are none: stores of before stay as they are."""
        return {key: value for key, value in dump(self).items() if key != "cuts" or value}


class StoredEmbedding(Rows):
    """An embedding view as a store has it: its file is known by its bytes alone, and what that gives is known."""

    file_sha256: str
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]
    dtype: Literal["float16"] = "float16"
    compression: Literal["none"] = "none"
    # of this machine, and in no store
    file: Annotated[str, Field(exclude=True)] = ""
    device: Annotated[Literal["cpu", "cuda"], Field(exclude=True)] = "cpu"

    @property
    def n_mels(self) -> int:
        """Numbers of each frame, where spectrograms have mel bins."""
        return self.outputs[-1].stop

    def is_of(self, view: object) -> bool:
        """True if this is what a view of params.yaml describes, whatever the bytes of its file are now."""
        keys = set(Windows.model_fields)
        return isinstance(view, EmbeddingView) and view.model_dump(include=keys) == self.model_dump(include=keys)
