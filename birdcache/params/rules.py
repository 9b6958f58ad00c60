"""What is wrong with a params file, in words: one line per problem, and the rules between sections."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from birdcache.params.base import Section
from birdcache.params.members import Member
from birdcache.params.recipe import Recipe, merged, resolve_recipe
from birdcache.params.view_rules import more_views_problems, pcen_problems
from birdcache.params.views import MelView, PcenView, View

if TYPE_CHECKING:
    from birdcache.params.load import Params


def explain(problem: Any, raw: Any, prefix: str = "") -> str:
    """One line for one pydantic problem: key, value, rule, way out."""
    location = _location(problem["loc"], raw)
    key = prefix + ".".join(str(part) for part in location)
    if problem["type"] == "missing":
        return f"{key}: is missing; add it (docs/parameters.md shows its shipped value)"
    if problem["type"] == "extra_forbidden":
        return f"{key}: is not a known key; {_suggestion(location)}"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, dict | list | BaseModel) else f" = {value!r}"
    return f"{key}{shown}: {message[0].lower()}{message[1:]}; the comment beside the key tells unit and effect"


def _location(steps: tuple[Any, ...], raw: Any) -> list[Any]:
    """The keys of the file among pydantic's steps, which also hold tags of unions (views.mel.mel.hop)."""
    location, node = [], raw
    for number, step in enumerate(steps):
        inside = isinstance(node, Mapping) and step in node
        if inside or isinstance(step, int) or (number == len(steps) - 1 and step != "[key]"):
            location.append(step)
        node = node[step] if inside else node
    return location


def _suggestion(location: list[Any]) -> str:
    known = {name for section in _sections() for name in section.model_fields}
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"


def _sections() -> Iterator[type[Section]]:
    pending: list[type[Section]] = [Section]
    while pending:
        for child in pending.pop().__subclasses__():
            pending.append(child)
            yield child


def cross_problems(raw: dict[str, Any]) -> list[str]:
    """Rules between sections, over those entries that are valid by themselves."""
    views = valid_entries(TypeAdapter(View), raw.get("views"))
    recipes = valid_entries(TypeAdapter(Recipe), raw.get("train"))
    members = valid_entries(TypeAdapter(Member), raw.get("members"))
    problems: list[str] = []
    for name, member in members.items():
        problems += member_problems(f"members.{name}", member, raw, views, recipes)
    return problems


def valid_entries(adapter: TypeAdapter[Any], raw: Any) -> dict[str, Any]:
    """Those entries of a section that are valid by themselves."""
    valid = {}
    for name, entry in raw.items() if isinstance(raw, Mapping) else ():
        try:
            valid[name] = adapter.validate_python(entry)
        except ValidationError:
            continue  # already reported by the schema of the whole file
    return valid


def _names(raw: dict[str, Any], section: str) -> list[str]:
    entries = raw.get(section)
    return [str(name) for name in entries] if isinstance(entries, Mapping) else []


def member_problems(
    key: str, member: Member, raw: dict[str, Any], views: dict[str, Any], recipes: dict[str, Any]
) -> Iterator[str]:
    """What is wrong between a member, whose section is `key`, and the view and recipe that it names."""
    if member.view not in _names(raw, "views"):
        yield f"{key}.view = {member.view!r}: names no view; choose one of: {', '.join(_names(raw, 'views'))}"
    yield from more_views_problems(key, member, _names(raw, "views"), views)
    if member.recipe not in _names(raw, "train"):
        yield f"{key}.recipe = {member.recipe!r}: names no recipe; choose one of: {', '.join(_names(raw, 'train'))}"
    if member.recipe not in recipes:
        return
    try:
        recipe = resolve_recipe(recipes[member.recipe], member.override)
    except ValidationError as error:
        tried = merged(recipes[member.recipe].model_dump(), member.override)
        yield from (explain(problem, tried, prefix=f"{key}.override.") for problem in error.errors())
        return
    if member.view in views:
        yield from _recipe_on_view_problems(key, recipe, member, views[member.view])
    yield from pcen_problems(key, recipe, member, views)


def override_problems(params: Params, name: str, override: Mapping[str, Any]) -> list[str]:
    """What would be wrong with a member if its override were this one."""
    member = params.members[name].model_copy(update={"override": override})
    return list(member_problems(f"members.{name}", member, params.model_dump(), params.views, params.train))


def _recipe_on_view_problems(key: str, recipe: Recipe, member: Member, view: MelView | PcenView) -> Iterator[str]:
    frame_s, frames = view.n_fft / view.sample_rate_hz, view.frames(recipe.clip_s)
    augment, masks = recipe.augment, recipe.augment.spec_augment
    on = f"of view {member.view}"
    if recipe.clip_s < frame_s:
        yield f"{key}: clip_s = {recipe.clip_s} is shorter than a frame {on} ({frame_s:g} s); lengthen clip_s"
    if augment.time_shift_s > recipe.clip_s:
        yield f"{key}: time_shift_s = {augment.time_shift_s} is longer than clip_s ({recipe.clip_s}); lower it"
    if masks.mel_width > view.n_mels:
        yield f"{key}: mel_width = {masks.mel_width} is over the {view.n_mels} mel bins {on}; lower it"
    if masks.time_width > frames:
        yield f"{key}: time_width = {masks.time_width} is over the {frames} frames of a clip; lower it"
    if recipe.loss.frame_max and member.head != "sed":
        yield (
            f"{key}: loss.frame_max = {recipe.loss.frame_max:g} needs scores for every frame; set {key}.head: sed, "
            f"or {key}.override.loss.frame_max: 0.0"
        )
    if recipe.channels == ["pcen"] and recipe.dynamic_range_db:
        yield (
            f"{key}: dynamic_range_db = {recipe.dynamic_range_db:g} has no meaning for the channel pcen, not in dB; "
            f"set {key}.override.dynamic_range_db: 0.0"
        )
