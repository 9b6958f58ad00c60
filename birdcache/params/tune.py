"""The search space of `birdcache tune`. Section `tune` of params.yaml.

Keys are those of a recipe, joined by dots (optimiser.lr); whether a range holds whole numbers is the recipe's own type.
"""

import difflib
import types
from collections.abc import Iterator, Mapping
from operator import gt
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from birdcache.params.checks import beside, kept
from birdcache.params.hints import walked
from birdcache.params.recipe import Recipe
from birdcache.params.sections import LARGEST, Count, CountOrNone, Section, Seed

Metric = Literal["macro_roc_auc", "accuracy", "cmap", "loss", "windows.macro_roc_auc", "windows.cmap"]

Number = Annotated[int, Field(ge=-LARGEST, le=LARGEST)] | Annotated[float, Field(ge=-LARGEST, le=LARGEST)]

OF_THE_LOSS = ("loss.kind", "loss.focal", "loss.soft_auc", "loss.clip", "loss.frame_max", "secondary.")


class RangeParams(Section):
    """All numbers from low to high; with `log`, each decade is drawn from alike."""

    low: Number
    high: Annotated[Number, beside("low", gt, "must be above low ({:g}); raise it")]
    log: Annotated[
        bool,
        beside(
            "low", lambda log, low: not log or low > 0, "needs a low above 0, not {:g}; raise low or set log: false"
        ),
    ]


def _differ(choices: list[Any]) -> bool:
    return not any(choice in choices[:number] for number, choice in enumerate(choices))  # they may be lists


class ChoiceParams(Section):
    """One of several values of any kind."""

    choices: Annotated[list[Any], Field(min_length=2), kept(_differ, "names a value twice; name each once")]


def _kind(space: Any) -> str | None:
    if not isinstance(space, Mapping | RangeParams | ChoiceParams):
        return None
    choice = "choices" in space if isinstance(space, Mapping) else isinstance(space, ChoiceParams)
    return "a choice" if choice else "a range"


Space = Annotated[
    Annotated[RangeParams, Tag("a range")] | Annotated[ChoiceParams, Tag("a choice")],
    Discriminator(
        _kind, custom_error_type="space", custom_error_message="Must be {low, high, log} or {choices: [...]}"
    ),
]


class TuneParams(Section):
    """A search for better values of a recipe's keys.

    Sources: tree-structured Parzen estimator, Bergstra et al. 2011; median stopping rule, Golovin et al. 2017; both by
    Optuna, Akiba et al. 2019. A Halton sequence first, Bergstra & Bengio 2012.
    """

    trials: Count
    fold: CountOrNone
    metric: Metric
    seed: Seed
    keys: dict[str, Space]


def recipe_keys() -> dict[str, FieldInfo]:
    """Every key of a recipe that is no section, with its type and rule, joined by dots."""
    found = dict(walked(Recipe))
    sections = {path[:-1] for path in found}
    return {".".join(path): field for path, field in found.items() if path not in sections}


def is_whole(key: str) -> bool:
    """True if a key of the recipe holds whole numbers."""
    return _number_type(recipe_keys()[key]) is int


def _number_type(field: FieldInfo) -> type | None:
    """Int or float; None if a field holds neither."""
    union = get_origin(field.annotation) in (Union, types.UnionType)
    kinds = get_args(field.annotation) if union else (field.annotation,)
    plain = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds]
    return next((kind for kind in plain if kind in (int, float)), None)


def tune_problems(tune: TuneParams) -> Iterator[str]:
    """Problems of the keys of section `tune` that its own schema lets pass: one line each."""
    known = recipe_keys()
    for key, space in tune.keys.items():
        if key not in known:
            yield f"tune.keys.{key}: {_unknown(key, known)}"
        elif tune.metric == "loss" and key.startswith(OF_THE_LOSS):
            yield f"tune.keys.{key}: losses under it do not compare; set tune.metric: macro_roc_auc, or remove it"
        elif isinstance(space, RangeParams) and _number_type(known[key]) is None:
            yield f"tune.keys.{key}: holds no number in a recipe, so it has no range; list its values under choices"
        else:
            yield from _value_problems(key, space, known[key])


def _unknown(key: str, known: Mapping[str, FieldInfo]) -> str:
    inside = [other for other in known if other.startswith(f"{key}.")]
    if inside:
        return f"is a section of a recipe; name one of its keys: {', '.join(inside)}"
    close = difflib.get_close_matches(key, known, n=1) or [other for other in known if other.endswith(f".{key}")]
    return f"is no key of a recipe; {f'did you mean {close[0]}?' if close else 'remove it'}"


def _value_problems(key: str, space: RangeParams | ChoiceParams, field: FieldInfo) -> Iterator[str]:
    """Values of a search that the recipe's own rule for the key refuses."""
    annotation: Any = Annotated[field.annotation, field]
    rule: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(strict=True))
    for place, value in values_of(space).items():
        try:
            rule.validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            yield f"tune.keys.{key}.{place} = {value!r}: {message[0].lower()}{message[1:]}, as in a recipe; correct it"


def values_of(space: RangeParams | ChoiceParams) -> dict[str, Any]:
    """The ends of a range, or all choices, by the place where each stands."""
    if isinstance(space, RangeParams):
        return {"low": space.low, "high": space.high}
    return {f"choices.{number}": choice for number, choice in enumerate(space.choices)}


def as_override(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their dotted keys, nested as a member's `override` is."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        node = nested
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return nested
