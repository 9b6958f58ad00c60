"""The schema of params.yaml: every knob, its unit, its bounds. Nothing else in the project parses YAML.

`load()` refuses a wrong file with all its problems at once; below this border everything is typed and trusted.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from birdcache.errors import BirdcacheError
from birdcache.params.base import Count, Name, NonNegative, Positive, Probability, Section
from birdcache.params.ensemble import EnsembleParams, ensemble_problems
from birdcache.params.export import ExportParams, export_problems
from birdcache.params.ladder import Ladder
from birdcache.params.members import Member
from birdcache.params.predict import PredictParams
from birdcache.params.recipe import Recipe, completed, is_derived, resolve_recipe
from birdcache.params.report import ReportParams
from birdcache.params.student import StudentParams
from birdcache.params.tune import TuneParams, tune_problems
from birdcache.params.views import View

DEFAULT_PATH = Path("params.yaml")


class ParamsError(BirdcacheError):
    """params.yaml is unusable; the message lists every problem with key, value, rule and way out."""


def _is_below(path: str) -> bool:
    """Whether a text is a relative path that stays in its folder, under POSIX and Windows alike."""
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    below = not (posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or "\\" in path)
    return bool(posix.parts) and below and path.isprintable()


class DemoParams(Section):
    """A synthetic dawn chorus (stage `demo`)."""

    seed: Annotated[int, Field(ge=0)]
    species: Annotated[int, Field(ge=12, le=16)]
    most_recordings: Annotated[int, Field(ge=3)]
    fewest_recordings: Annotated[int, Field(ge=1)]
    soundscapes: Annotated[int, Field(ge=0)]
    unlabelled: Annotated[int, Field(ge=0)]

    @field_validator("fewest_recordings")
    @classmethod
    def _not_above_most(cls, fewest: int, info: ValidationInfo) -> int:
        most = info.data.get("most_recordings")
        if most is not None and fewest > most:
            raise ValueError(f"must be at most most_recordings ({most}); lower it")
        return fewest


class DataParams(Section):
    """Where the recordings lie and how they are laid out (stage `recordings`)."""

    layout: Literal["birdclef", "folders", "annotations"]
    root: Annotated[str, Field(min_length=1)]
    annotations: Annotated[str, Field(min_length=1)]
    soundscapes: str | None
    soundscape_truth: str | None
    links: Literal["inside", "anywhere"]
    shortest_s: Positive
    longest_s: Positive
    no_end: Literal["accept", "refuse"]
    max_refused_share: Probability

    @field_validator("soundscapes", "soundscape_truth")
    @classmethod
    def _below_root(cls, path: str | None) -> str | None:
        if path is not None and not _is_below(path):
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


class EvaluateParams(Section):
    """What stage `evaluate` reports."""

    top_confusions: Count
    rare_below: Count


class MachineParams(Section):
    """This machine, not the experiment: no stage depends on it, changing it re-runs nothing."""

    workers: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda"]
    processes: Annotated[int, Field(ge=0)]
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


class Params(Section):
    """The whole of params.yaml."""

    demo: dict[Name, DemoParams]
    data: DataParams
    views: Annotated[dict[Name, View], Field(min_length=1)]
    folds: FoldsParams
    train: Annotated[dict[Name, Recipe], Field(min_length=1)]
    members: Annotated[dict[Name, Member], Field(min_length=1)]
    ladder: Ladder
    evaluate: EvaluateParams
    report: ReportParams
    ensemble: EnsembleParams
    predict: PredictParams
    export: ExportParams
    student: StudentParams
    tune: TuneParams
    machine: MachineParams

    def recipe_of(self, member: str) -> Recipe:
        """The member's recipe with its overrides applied."""
        chosen = self.members[member]
        return resolve_recipe(self.train[chosen.recipe], chosen.override)


def load(path: Path = DEFAULT_PATH) -> Params:
    """Read and check a params file.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, or breaks any rule; all problems are listed at once.
    """
    # here, since their rules need the schema above
    from birdcache.params.ladder_rules import ladder_problems
    from birdcache.params.rules import cross_problems, explain
    from birdcache.params.student_rules import student_problems

    raw = _read_yaml(path)
    bases, problems = _expand_recipes(raw)
    params: Params | None = None
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        problems += [explain(problem, raw) for problem in _own(error.errors(), bases)]
    problems += [
        *ensemble_problems(raw),
        *export_problems(raw),
        *cross_problems(raw),
        *ladder_problems(raw),
        *student_problems(raw),
        *tune_problems(raw.get("tune")),
    ]
    if params is None or problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ParamsError(f"{path}: {len(problems)} problem(s)\n{lines}")
    return params


def _expand_recipes(raw: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Complete the recipes that have a base, in place; their bases, and what is wrong with them."""
    if not isinstance(raw.get("train"), dict):
        return {}, []
    problems = []
    recipes = raw["train"]
    raw["train"] = {}
    for name in recipes:
        try:
            raw["train"][name] = completed(name, recipes)
        except ValueError as error:
            problems.append(f"train.{name}.{error}")
    return {name: recipe["base"] for name, recipe in recipes.items() if is_derived(recipe)}, problems


def _own(problems: list[Any], bases: dict[str, str]) -> list[Any]:
    """Without those that a recipe only has because its base has them."""

    def facts(problem: Any) -> tuple[Any, ...]:
        return problem["loc"], problem["type"], None if problem["type"] == "missing" else problem["input"]

    known = [facts(problem) for problem in problems]

    def is_of_base(problem: Any) -> bool:
        (section, *rest), *others = facts(problem)
        if section != "train" or not rest or rest[0] not in bases:
            return False
        return (("train", bases[rest[0]], *rest[1:]), *others) in known

    return [problem for problem in problems if not is_of_base(problem)]


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
