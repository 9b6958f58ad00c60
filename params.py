"""The schema of params.yaml: every knob, its unit, its bounds. Nothing else in the project parses YAML.

`load()` refuses a wrong file with all its problems at once; below this border everything is typed and trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from errors import BirdcacheError

DEFAULT_PATH = Path("params.yaml")


class ParamsError(BirdcacheError):
    """params.yaml is unusable; the message lists every problem with key, value, rule and way out."""


class Section(BaseModel):
    """A frozen part of params.yaml: unknown keys, missing keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class DemoParams(Section):
    """A synthetic dawn chorus (stage `demo`)."""

    seed: Annotated[int, Field(ge=0)]
    species: Annotated[int, Field(ge=12, le=16)]
    most_recordings: Annotated[int, Field(ge=3)]
    fewest_recordings: Annotated[int, Field(ge=1)]
    soundscapes: Annotated[int, Field(ge=0)]

    @field_validator("fewest_recordings")
    @classmethod
    def _not_above_most(cls, fewest: int, info: ValidationInfo) -> int:
        most = info.data.get("most_recordings")
        if most is not None and fewest > most:
            raise ValueError(f"must be at most most_recordings ({most}); lower it")
        return fewest


class DataParams(Section):
    """Where the recordings lie and how they are laid out (stage `recordings`)."""

    layout: Literal["birdclef", "folders"]
    root: Annotated[str, Field(min_length=1)]
    soundscapes: str | None
    soundscape_truth: str | None
    shortest_s: Positive
    longest_s: Positive

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


class _ViewBase(Section):
    sample_rate_hz: Annotated[int, Field(ge=8000, le=192000)]
    n_fft: Annotated[int, Field(ge=64, le=16384)]
    hop: Count
    n_mels: Annotated[int, Field(ge=8, le=512)]
    mel_scale: Literal["slaney", "htk"]
    fmin_hz: NonNegative
    fmax_hz: Positive
    dtype: Literal["float16", "uint8"]
    compression: Literal["none", "lz4", "zstd"]

    @field_validator("n_fft")
    @classmethod
    def _even(cls, n_fft: int) -> int:
        if n_fft % 2:
            raise ValueError(f"must be even; use {n_fft + 1}")
        return n_fft

    @field_validator("hop")
    @classmethod
    def _not_over_window(cls, hop: int, info: ValidationInfo) -> int:
        n_fft = info.data.get("n_fft")
        if n_fft is not None and hop > n_fft:
            raise ValueError(f"must be at most the window n_fft ({n_fft}), or samples are skipped; lower hop")
        return hop

    @field_validator("fmax_hz")
    @classmethod
    def _in_band(cls, fmax_hz: float, info: ValidationInfo) -> float:
        rate, fmin_hz = info.data.get("sample_rate_hz"), info.data.get("fmin_hz")
        if rate is not None and fmax_hz > rate / 2:
            raise ValueError(f"must be at most Nyquist, half of sample_rate_hz ({rate / 2:g}); lower fmax_hz")
        if fmin_hz is not None and fmax_hz <= fmin_hz:
            raise ValueError(f"must be above fmin_hz ({fmin_hz:g}); raise fmax_hz or lower fmin_hz")
        return fmax_hz

    def frames(self, duration_s: float) -> int:
        """Number of frames that cover `duration_s` seconds, rounded up."""
        samples = duration_s * self.sample_rate_hz
        return int(-(-samples // self.hop))


class MelView(_ViewBase):
    """Un-normalised log mel power in dB."""

    kind: Literal["mel"]


class PcenParams(Section):
    """Per-channel energy normalisation (Wang et al. 2017); names as in librosa.pcen."""

    gain: NonNegative
    bias: NonNegative
    power: NonNegative
    time_constant_s: Positive
    eps: Positive


class PcenView(_ViewBase):
    """Mel energy after per-channel energy normalisation over the whole recording."""

    kind: Literal["pcen"]
    pcen: PcenParams


View = Annotated[MelView | PcenView, Field(discriminator="kind")]


class FoldsParams(Section):
    """How recordings are split (stage `folds`)."""

    count: Annotated[int, Field(ge=2, le=20)]
    train: Annotated[list[int], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)]
    use_ready: bool
    fewest_to_validate: Annotated[int, Field(ge=2)]

    @field_validator("train")
    @classmethod
    def _existing_folds(cls, train: list[int], info: ValidationInfo) -> list[int]:
        count = info.data.get("count")
        if count is not None and not all(0 <= fold < count for fold in train):
            raise ValueError(f"must name folds between 0 and {count - 1}; correct the list or raise count")
        if len(set(train)) != len(train):
            raise ValueError("names a fold twice; name each once")
        return train


class SamplingParams(Section):
    """Which recordings an epoch draws."""

    clips_per_epoch: Count | None
    weighted: bool
    exponent: Annotated[float, Field(ge=0, le=2)]


class SecondaryParams(Section):
    """What a secondary label counts as."""

    policy: Literal["ignore", "positive", "weight", "mask"]
    weight: Probability


class LossParams(Section):
    """The loss between logits and (mixed, smoothed) targets."""

    kind: Literal["ce", "bce"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class MixupParams(Section):
    """Mixup (Zhang et al. 2018) of two clips' power."""

    probability: Probability
    alpha: Positive
    labels: Literal["lambda", "max"]


class SpecAugmentParams(Section):
    """Masks over mel bins and frames (Park et al. 2019), without time warping."""

    mel_masks: Annotated[int, Field(ge=0)]
    mel_width: Annotated[int, Field(ge=0)]
    time_masks: Annotated[int, Field(ge=0)]
    time_width: Annotated[int, Field(ge=0)]
    probability: Probability


class AugmentParams(Section):
    """What happens to a batch on the device."""

    gain_db: NonNegative
    time_shift_s: NonNegative
    mixup: MixupParams
    spec_augment: SpecAugmentParams


class OptimiserParams(Section):
    """Optimiser and learning-rate schedule."""

    kind: Literal["adamw", "adam"]
    lr: Positive
    min_lr: NonNegative
    weight_decay: NonNegative
    warmup_epochs: NonNegative
    schedule: Literal["cosine", "constant"]
    clip_norm: NonNegative

    @field_validator("min_lr")
    @classmethod
    def _not_above_lr(cls, min_lr: float, info: ValidationInfo) -> float:
        lr = info.data.get("lr")
        if lr is not None and min_lr > lr:
            raise ValueError(f"must be at most lr ({lr:g}); lower min_lr")
        return min_lr


class Recipe(Section):
    """How a member is trained (stage `train`)."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    clip_s: Positive
    short: Literal["pad", "loop"]
    dynamic_range_db: NonNegative
    normalise: Literal["clip", "none"]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    weights: Literal["last", "best"]
    sampling: SamplingParams
    secondary: SecondaryParams
    loss: LossParams
    augment: AugmentParams
    optimiser: OptimiserParams

    @field_validator("optimiser")
    @classmethod
    def _warm_up_ends(cls, optimiser: OptimiserParams, info: ValidationInfo) -> OptimiserParams:
        epochs = info.data.get("epochs")
        if epochs is not None and optimiser.warmup_epochs >= epochs:
            raise ValueError(f"warmup_epochs must be below epochs ({epochs}); lower it or train longer")
        return optimiser


class Member(Section):
    """A named model: one backbone on one view with one recipe."""

    view: Name
    recipe: Name
    backbone: Annotated[str, Field(min_length=1)]
    pretrained: bool | str
    dropout: Annotated[float, Field(ge=0, lt=1)]
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    override: dict[str, Any]


class EvaluateParams(Section):
    """What stage `evaluate` reports."""

    top_confusions: Count
    rare_below: Count


class PredictParams(Section):
    """How scores of long recordings are cut into windows of time."""

    window_s: Positive
    batch_size: Count


class MachineParams(Section):
    """This machine, not the experiment: no stage depends on it, changing it re-runs nothing."""

    workers: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda"]
    residence: Literal["auto", "device", "host", "stream"]
    stream_gb: Positive
    pool: Annotated[str, Field(min_length=1)]
    backend: Literal["loky", "dask"]
    scheduler: str

    @field_validator("scheduler")
    @classmethod
    def _only_of_dask(cls, scheduler: str, info: ValidationInfo) -> str:
        if scheduler and info.data.get("backend") == "loky":
            raise ValueError("is the address of a Dask cluster; set backend: dask, or leave it empty")
        return scheduler


class Params(Section):
    """The whole of params.yaml."""

    demo: dict[Name, DemoParams]
    data: DataParams
    views: Annotated[dict[Name, View], Field(min_length=1)]
    folds: FoldsParams
    train: Annotated[dict[Name, Recipe], Field(min_length=1)]
    members: Annotated[dict[Name, Member], Field(min_length=1)]
    evaluate: EvaluateParams
    predict: PredictParams
    machine: MachineParams

    def recipe_of(self, member: str) -> Recipe:
        """The member's recipe with its overrides applied."""
        chosen = self.members[member]
        return resolve_recipe(self.train[chosen.recipe], chosen.override)


def resolve_recipe(recipe: Recipe, override: Mapping[str, Any]) -> Recipe:
    """Apply a member's overrides (nested like the recipe) to a recipe.

    Raises
    ------
    ValidationError
        If an override names an unknown key or breaks a rule.
    """
    return Recipe.model_validate(_merged(recipe.model_dump(), override))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if nested else value
    return result


def load(path: Path = DEFAULT_PATH) -> Params:
    """Read and check a params file.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, or breaks any rule; all problems are listed at once.
    """
    from params_problems import cross_problems, explain  # here, since its rules need the schema above

    raw = _read_yaml(path)
    problems: list[str] = []
    params: Params | None = None
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        problems += [explain(problem, raw) for problem in error.errors()]
    problems += cross_problems(raw)
    if params is None or problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ParamsError(f"{path}: {len(problems)} problem(s)\n{lines}")
    return params


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run `birdcache init --demo` in the project's folder") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: is not readable as YAML 1.2 in UTF-8; correct this place:\n{error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: must hold sections (demo, data, views, ...); run `birdcache init --demo`")
    return raw
