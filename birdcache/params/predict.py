"""From scores of clips to scores of windows. Section `predict` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from birdcache.params.base import Count, NonNegative, Positive, Section


class PredictParams(Section):
    """Where clips of long recordings are scored, and what is done to their scores (docs/inference.md).

    Sources: overlapping windows, smoothing over time with [0.1, 0.8, 0.1] and scores times the maximum of their file,
    as BirdCLEF's winners do; shifted clips are test-time augmentation, Krizhevsky et al. 2012, along time.
    """

    window_s: Positive
    hop_s: Positive
    shifts_s: list[float]
    smoothing: Annotated[float, Field(ge=0, le=0.5)]
    file_max: NonNegative
    batch_size: Count

    @field_validator("hop_s")
    @classmethod
    def _no_gaps(cls, hop_s: float, info: ValidationInfo) -> float:
        window_s = info.data.get("window_s")
        if window_s is not None and hop_s > window_s:
            raise ValueError(f"must be at most window_s ({window_s:g}), or time is left out; lower it")
        return hop_s

    @field_validator("shifts_s")
    @classmethod
    def _real_shifts(cls, shifts_s: list[float], info: ValidationInfo) -> list[float]:
        window_s = info.data.get("window_s")
        if len({0.0, *shifts_s}) != len(shifts_s) + 1:
            raise ValueError("names a shift twice, or 0, which always counts; name each once and leave 0 out")
        if window_s is not None and any(abs(shift_s) >= window_s for shift_s in shifts_s):
            raise ValueError(f"must be shorter than window_s ({window_s:g}), or another window is heard; shorten them")
        return shifts_s
