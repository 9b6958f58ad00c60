"""Files of a bundle, and `bundle.json`, which holds everything that the graph does not. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

MODEL, DESCRIPTION, SUMS = "model.onnx", "bundle.json", "SHA256SUMS"
SUFFIX = ".bundle"
SCORES, EMBEDDING = "scores", "embedding"  # outputs of the graph

OUTSIDE = 1e9  # what a waveform's samples are that lie before or behind the recording
OUTSIDE_ABOVE = 1e8  # samples above are taken for such
FORGOTTEN = 1e-6  # what is left of a frame in PCEN's smoother once it no longer counts: -60 dB


class Input(BaseModel):
    """One waveform that the graph takes: the samples of a recording in it.

    Frame t of a recording has its middle at sample t * hop. A clip of `clip_frames` frames needs so many frames before
    it (`context_frames`, for PCEN's smoother), and `margin` samples on either side of the outermost frames' middles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    sample_rate_hz: int
    hop: int
    clip_frames: int
    context_frames: int
    margin: int

    @property
    def samples(self) -> int:
        """Samples of one row, S."""
        return (self.context_frames + self.clip_frames - 1) * self.hop + 2 * self.margin

    def begin(self, first_frame: int) -> int:
        """The recording's sample with which the row of a clip begins; below 0 at the recording's start."""
        return (first_frame - self.context_frames) * self.hop - self.margin


class Description(BaseModel):
    """`bundle.json`: the processing before and after the graph, and its origin."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    name: str
    precision: Literal["float32", "int8"]
    labels: list[str]
    names: dict[str, str]
    thresholds: list[float]
    submission_labels: list[str]
    inputs: list[Input]
    embedding: int
    low_hz: float
    high_hz: float
    window_s: float
    hop_s: float
    shifts_s: list[float]
    smoothing: float
    file_max: float
    decoder: str
    front_end: int
    members: dict[str, MemberFacts]


class MemberFacts(BaseModel):
    """A member inside the graph: its weight in the blend, the digests of its weights by fold, and what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    weight: float
    fold_soup: bool
    weights_sha256: dict[str, str]
    resolved: dict[str, object]


Description.model_rebuild()


def is_bundle(path: Path) -> bool:
    """True if a folder is a bundle, or the rest of one."""
    return path.suffix == SUFFIX or any((path / name).is_file() for name in (DESCRIPTION, MODEL, SUMS))
