"""Files of a bundle, and `bundle.json`, which holds everything that the graph does not. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from birdcache.labels import LABEL_RULE, is_label
from birdcache.params.checks import each_once, kept
from birdcache.params.sections import Section, Smoothing, Taps
from birdcache.text import is_printable

MODEL, DESCRIPTION, SUMS = "model.onnx", "bundle.json", "SHA256SUMS"
SUFFIX = ".bundle"
SCORES, EMBEDDING = "scores", "embedding"  # outputs of the graph

OUTSIDE = 1e9  # what a waveform's samples are that lie before or behind the recording
OUTSIDE_ABOVE = 1e8  # samples above are taken for such
FORGOTTEN = 1e-6  # what is left of a frame in PCEN's smoother once it no longer counts: -60 dB

SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 0.1, 3600.0
MOST_SAMPLES = 2**25  # of the rows of all inputs for one clip: far more than any needs


PRINTABLE = kept(is_printable, "holds a character that cannot be printed")
Word = Annotated[str, Field(min_length=1, max_length=200), PRINTABLE]
Label = Annotated[str, kept(is_label, LABEL_RULE)]
Labels = Annotated[list[Label], Field(min_length=1, max_length=20_000), each_once("one")]
Share = Annotated[float, Field(ge=0, le=1)]
Frames = Annotated[int, Field(ge=0, le=2**20)]


class Input(Section):
    """One waveform that the graph takes: the samples of a recording in it.

    Frame t of a recording has its middle at sample t * hop. A clip of `clip_frames` frames needs so many frames before
    it (`context_frames`, for PCEN's smoother), and `margin` samples on either side of the outermost frames' middles.
    A recording has a frame for each `hop` that begins before its last `tail` samples; 0 but for a probe's windows.
    """

    name: Word
    sample_rate_hz: Annotated[int, Field(ge=8000, le=500_000)]
    hop: Annotated[int, Field(ge=1, le=2**16)]
    clip_frames: Annotated[Frames, Field(ge=1)]
    context_frames: Frames
    margin: Frames
    tail: Frames = 0

    @property
    def samples(self) -> int:
        """Samples of one row, S."""
        return (self.context_frames + self.clip_frames - 1) * self.hop + 2 * self.margin

    def begin(self, first_frame: int) -> int:
        """The recording's sample with which the row of a clip begins; below 0 at the recording's start."""
        return (first_frame - self.context_frames) * self.hop - self.margin


class MemberFacts(Section):
    """A member inside the graph: its weight in the blend, the digests of its weights by fold, and what it is."""

    weight: Share
    weights_sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    resolved: dict[str, object]
    fold_soup: bool = Field(default=False, exclude=True)  # older bundles have this key


class Description(Section):
    """`bundle.json`: the processing before and after the graph, and its origin."""

    version: Literal[1] = 1
    name: Word
    precision: Literal["float32", "int8"]  # older bundles may hold int8
    labels: Labels
    names: dict[str, Word]
    thresholds: list[Share]
    submission_labels: Labels
    submission_column: Annotated[str, Field(pattern="^(birds|target)?$")] = ""
    inputs: Annotated[list[Input], Field(min_length=1, max_length=16)]
    embedding: Annotated[int, Field(ge=1, le=2**20)]
    low_hz: Annotated[float, Field(ge=0, le=96_000)]
    high_hz: Annotated[float, Field(ge=0, le=96_000)]
    window_s: Annotated[float, Field(ge=SHORTEST_WINDOW_S, le=LONGEST_WINDOW_S)]
    hop_s: Annotated[float, Field(ge=SHORTEST_WINDOW_S / 10)]
    shifts_s: Annotated[list[float], Field(max_length=100)]
    smoothing: Smoothing | list[Taps]
    file_max: Annotated[float, Field(ge=0, le=100)]
    top_k: Annotated[int, Field(ge=1, le=2**20)] = 1
    slopes: list[Annotated[float, Field(gt=0, le=1000)]] = Field(default_factory=list)
    offsets: list[Annotated[float, Field(ge=-1000, le=1000)]] = Field(default_factory=list)
    decoder: Word
    front_end: Annotated[int, Field(ge=0, le=2**20)]
    members: Annotated[dict[Word, MemberFacts], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _belongs_together(self) -> Description:
        smoothing = self.smoothing if isinstance(self.smoothing, list) else []
        taps = [len(each) for each in smoothing if isinstance(each, list)]
        rules = {
            "thresholds: must be as many as labels": len(self.thresholds) == len(self.labels),
            "slopes, offsets: must be as many as labels, or none": (
                len(self.slopes) == len(self.offsets) and len(self.slopes) in (0, len(self.labels))
            ),
            "smoothing: must be as many taps for each label": (
                not taps or (len(taps) == len(self.labels) and len(set(taps)) == 1)
            ),
            "names: must be of labels": self.names.keys() <= set(self.labels),
            "low_hz: must be below high_hz": self.low_hz < self.high_hz,
            "hop_s: must be at most window_s, and a thousandth of it at least": (
                self.window_s / 1000 <= self.hop_s <= self.window_s
            ),
            "shifts_s: each must be shorter than window_s": all(abs(each) < self.window_s for each in self.shifts_s),
            "inputs: each needs a name of its own": len({each.name for each in self.inputs}) == len(self.inputs),
            "inputs: take more samples than any clip has": sum(each.samples for each in self.inputs) <= MOST_SAMPLES,
        }
        for rule, is_kept in rules.items():
            if not is_kept:
                raise ValueError(rule)
        return self


def is_bundle(path: Path) -> bool:
    """True if a folder is a bundle, or the rest of one."""
    return path.suffix == SUFFIX or any((path / name).is_file() for name in (DESCRIPTION, MODEL, SUMS))
