"""Sections of params.yaml that hold plain values: data, folds, predict, ensemble, export, report, machine ...

Nothing here computes: a file is refused, or its values stay as they are, so that no result depends on this code.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from birdcache.audio.formats.header import LONGEST_S
from birdcache.files import is_inner_path

LARGEST = 10**9  # no number is of use beyond; arithmetic that follows stays within what floats and arrays hold


class Section(BaseModel):
    """A frozen part of params.yaml: unknown keys, missing keys and wrong types are refused, nan and inf, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountOrNone = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # of numpy and scikit-learn
Decibels = Annotated[float, Field(ge=0, le=200)]
Seconds = Annotated[float, Field(ge=0.01, le=3600)]


class DemoParams(Section):
    """A synthetic dawn chorus (stage `demo`)."""

    seed: Seed
    species: Annotated[int, Field(ge=12, le=16)]
    most_recordings: Annotated[int, Field(ge=3, le=10_000)]
    fewest_recordings: Annotated[int, Field(ge=1)]
    soundscapes: Annotated[int, Field(ge=0, le=10_000)]
    unlabelled: Annotated[int, Field(ge=0, le=10_000)]

    @field_validator("fewest_recordings")
    @classmethod
    def _not_above_most(cls, fewest: int, info: ValidationInfo) -> int:
        most = info.data.get("most_recordings")
        if most is not None and fewest > most:
            raise ValueError(f"must be at most most_recordings ({most}); lower it")
        return fewest


class DataParams(Section):
    """Place and layout of the recordings (stage `recordings`)."""

    layout: Literal["birdclef", "folders", "annotations"]
    root: Annotated[str, Field(min_length=1)]
    annotations: Annotated[str, Field(min_length=1)]
    soundscapes: str | None
    soundscape_truth: str | None
    links: Literal["inside", "anywhere"]
    shortest_s: Positive
    longest_s: Annotated[float, Field(gt=0, le=LONGEST_S)]
    no_end: Literal["accept", "refuse"]
    max_refused_share: Probability

    @field_validator("soundscapes", "soundscape_truth")
    @classmethod
    def _below_root(cls, path: str | None) -> str | None:
        if path is not None and not is_inner_path(path):
            raise ValueError("must be a path below root, without ..; move it there, or link it and set links: anywhere")
        return path

    @field_validator("soundscape_truth")
    @classmethod
    def _truth_needs_soundscapes(cls, truth: str | None, info: ValidationInfo) -> str | None:
        if truth is not None and info.data.get("soundscapes", "") is None:
            raise ValueError("needs soundscapes; name their folder or set soundscape_truth to null")
        return truth

    @field_validator("longest_s")
    @classmethod
    def _not_below_shortest(cls, longest: float, info: ValidationInfo) -> float:
        shortest = info.data.get("shortest_s")
        if shortest is not None and longest < shortest:
            raise ValueError(f"must be at least shortest_s ({shortest}); raise it")
        return longest


class FoldsParams(Section):
    """The split of recordings (stage `folds`)."""

    count: Annotated[int, Field(ge=2, le=20)]
    train: Annotated[list[int], Field(min_length=1)]
    seed: Seed
    use_ready: bool
    fewest_to_validate: Annotated[int, Field(ge=2, le=LARGEST)]

    @field_validator("train")
    @classmethod
    def _existing_folds(cls, train: list[int], info: ValidationInfo) -> list[int]:
        count = info.data.get("count")
        if count is not None and not all(0 <= fold < count for fold in train):
            raise ValueError(f"must name folds between 0 and {count - 1}; correct the list or raise count")
        if len(set(train)) != len(train):
            raise ValueError("names a fold twice; name each once")
        return train


class PredictParams(Section):
    """Clips of long recordings that are scored, and the processing of their scores (docs/inference.md).

    Sources: overlapping windows, smoothing over time with [0.1, 0.8, 0.1] and scores times the maximum of their file,
    as BirdCLEF's winners do; shifted clips are test-time augmentation, Krizhevsky et al. 2012, along time.
    """

    window_s: Seconds
    hop_s: Seconds
    shifts_s: list[float]
    smoothing: Annotated[float, Field(ge=0, le=0.5)]
    file_max: Annotated[float, Field(ge=0, le=100)]
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


class EnsembleParams(Section):
    """The blend of members' scores, and of the weights of a member's folds (docs/inference.md).

    Sources: weights on held-out predictions, stacking as in Wolpert 1992 and Breiman 1996 (non-negative); a mean of
    ranks, the Borda count; averaged weights of several trainings, the uniform soup of Wortsman et al. 2022.
    """

    blend: Literal["mean", "rank", "fitted", "best"]
    best: Count
    fold_soup: bool
    threshold_prior: Annotated[NonNegative, Field(le=1e6)]


class EvaluateParams(Section):
    """The report of stage `evaluate`."""

    top_confusions: Count
    rare_below: Count


class ReportParams(Section):
    """The results that go into reports/report.html (docs/report.md)."""

    budget_mb: Annotated[float, Field(ge=1, le=100)]
    clips: Annotated[int, Field(ge=0, le=100)]
    gallery: Annotated[int, Field(ge=0, le=50)]
    clip_s: Annotated[float, Field(ge=1, le=60)]
    soundscapes: Annotated[int, Field(ge=0, le=50)]
    soundscape_s: Annotated[float, Field(ge=5, le=600)]
    resamples: Annotated[int, Field(ge=20, le=10000)]


class ExportParams(Section):
    """Contents of the bundle, and its comparison with the pipeline (docs/deploy.md)."""

    name: Name
    members: list[Name]
    folds: list[CountOrNone]
    precision: Literal["float32", "int8"]
    compare: Count
    tolerance: Annotated[Positive, Field(le=0.1)]
    licence: str
    data_licence: str

    @field_validator("members", "folds")
    @classmethod
    def _each_once(cls, names: list[Any]) -> list[Any]:
        if len(set(names)) != len(names):
            raise ValueError("names one twice; name each once, or none for all of the ensemble")
        return names


class MachineParams(Section):
    """This machine, not the experiment: no stage depends on it, changing it re-runs nothing."""

    workers: Annotated[int, Field(ge=0, le=10_000)]
    device: Literal["auto", "cpu", "cuda"]
    processes: Annotated[int, Field(ge=0, le=10_000)]
    placement: Literal["auto", "device", "host", "stream"]
    stream_gb: Positive
    pool: Annotated[str, Field(min_length=1)]
    checkpoints: Annotated[str, Field(min_length=1)]
    save_every_s: NonNegative
    keep_checkpoints: Count
    backend: Literal["loky", "dask"]
    scheduler: str

    @field_validator("scheduler")
    @classmethod
    def _only_of_dask(cls, scheduler: str, info: ValidationInfo) -> str:
        if scheduler and info.data.get("backend") == "loky":
            raise ValueError("is the address of a Dask cluster; set backend: dask, or leave it empty")
        return scheduler
