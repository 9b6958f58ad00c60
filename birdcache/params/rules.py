"""Problems of a params file in words, one line each, and the rules between its sections."""

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from birdcache.params.hints import hint
from birdcache.params.recipe import Member, Recipe, merged, resolve_recipe
from birdcache.params.sections import Name, Section
from birdcache.params.student import StudentParams
from birdcache.params.views import MelView, PcenView, View, unlike

RENAMED = {("machine", "residence"): ("machine", "placement")}  # section and key, before and now


def is_renamed(problem: Any, raw: Mapping[str, Any]) -> bool:
    """True if a key is missing only because it has its old name, which is a problem of its own."""
    old = [(section, key) for (section, key), new in RENAMED.items() if new == problem["loc"]]
    return problem["type"] == "missing" and any(key in raw[section] for section, key in old)


class _WhatMembersUse(Section):
    """The sections in which a key of a member's override may have its place."""

    members: dict[Name, Member]
    train: dict[Name, Recipe]
    views: dict[Name, View]


def explain(problem: Any, raw: Any, section: type[Section], prefix: str = "") -> str:
    """One line for one pydantic problem: key, value, rule, way out.

    Parameters
    ----------
    section : the schema that has the problem; its keys stand under `prefix`, those of the file under none.
    """
    location = _location(problem["loc"], raw)
    key = prefix + ".".join(str(part) for part in location)
    if problem["type"] == "missing":
        return f"{key}: is missing; add it (docs/parameters.md shows its shipped value)"
    if problem["type"] == "extra_forbidden":
        renamed = RENAMED.get(problem["loc"])
        if renamed is not None:
            return f"{key}: is called {'.'.join(renamed)} now; rename it"
        return f"{key}: is not a known key; {hint(location, section, _WhatMembersUse if prefix else section, prefix)}"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, dict | list | BaseModel) else f" = {reprlib.repr(value)}"
    return f"{key}{shown}: {message[0].lower()}{message[1:]}; the comment beside the key names unit and effect"


def _location(steps: tuple[Any, ...], raw: Any) -> list[Any]:
    """The keys of the file among pydantic's steps, which also hold tags of unions (views.mel.mel.hop)."""
    location, node = [], raw
    for number, step in enumerate(steps):
        if number == 2 and steps[0] == "views":
            continue  # the view's kind, which may be the name of one of its keys, too
        inside = isinstance(node, Mapping) and step in node
        if inside or isinstance(step, int) or (number == len(steps) - 1 and step != "[key]"):
            location.append(step)
        node = node[step] if inside else node
    return location


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
    """Problems between a member, whose section is `key`, and the view and recipe that it names."""
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
        yield from (explain(problem, tried, Recipe, f"{key}.override.") for problem in error.errors())
        return
    if member.view in views:
        yield from _recipe_on_view_problems(key, recipe, member, views[member.view])
    yield from pcen_problems(key, recipe, member, views)


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


def more_views_problems(
    key: str, member: Member, names: list[str], views: dict[str, MelView | PcenView]
) -> Iterator[str]:
    """Problems of the views that a member names beside its first.

    Parameters
    ----------
    names : of all views of params.yaml; `views` holds those that are valid by themselves.
    """
    for place, name in enumerate(member.views[1:]):
        if name not in names:
            yield f"{key}.more_views = {member.more_views!r}: {name} names no view; choose one of: {', '.join(names)}"
        elif name in member.views[: place + 1]:
            yield f"{key}.more_views = {member.more_views!r}: the member has view {name} already; name each view once"
        elif name in views and member.view in views:
            yield from _geometry_problems(key, member, name, views)


def _geometry_problems(key: str, member: Member, name: str, views: dict[str, MelView | PcenView]) -> Iterator[str]:
    """Images can be channels of one only if a pixel means the same time and frequency in all of them."""
    for differing in unlike(views[member.view], views[name]):
        here, there = getattr(views[name], differing), getattr(views[member.view], differing)
        yield (
            f"{key}.more_views = {member.more_views!r}: views.{name}.{differing} = {here!r}, but views.{member.view}."
            f"{differing} = {there!r}: channels of one image need the same; add a view like {name} with "
            f"{differing}: {there}, or train a member on each view and let them vote"
        )


def pcen_problems(key: str, recipe: Recipe, member: Member, views: dict[str, MelView | PcenView]) -> Iterator[str]:
    """PCEN divides loudness away and is not in dB: what works on power or decibels has no meaning after it.

    Of a member with mel views too, gain, EQ and dynamic range act on those alone: PCEN would divide them away again. A
    sound that is added is not divided away, so it has to be in all channels.
    """
    pcen = [name for name in member.views if isinstance(views.get(name), PcenView)]
    if not pcen:
        return
    augment, on = recipe.augment, f"of view {pcen[0]}"
    alone = len(pcen) == len(member.views)
    nought = {
        "augment.gain_db": augment.gain_db * alone,
        "augment.sumix.probability": augment.sumix.probability,
        "augment.eq.probability": augment.eq.probability * alone,
        "augment.background.probability": augment.background.probability,
        "augment.noise.probability": augment.noise.probability,
        "dynamic_range_db": recipe.dynamic_range_db * alone,
        "trim_db": recipe.trim_db * (member.view in pcen),
    }
    other = "" if alone else ", or leave that view out and set channels: [level, pcen], of the mixed clip"
    for name, value in nought.items():
        if value:
            hint = f"set {key}.override.{name}: 0.0{other}"
            yield f"{key}: {name} = {value:g} has no meaning on the PCEN values {on}; {hint}"
    if "pcen" in recipe.channels:
        yield f"{key}: the channel pcen would be PCEN of the PCEN values {on}; set {key}.override.channels: [level]"


def ensemble_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Problems between the ensemble and the members of a params file."""
    ensemble, members = raw.get("ensemble"), raw.get("members")
    if not isinstance(ensemble, Mapping) or not isinstance(members, Mapping):
        return
    best = ensemble.get("best")
    if ensemble.get("blend") == "best" and isinstance(best, int) and best > len(members):
        yield f"ensemble.best = {best}: there are only {len(members)} members; lower it, or choose blend: mean"


def export_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Problems between the bundle and the members, folds and ensemble of a params file."""
    export, members, folds = (raw.get(name) for name in ("export", "members", "folds"))
    if not isinstance(export, Mapping):
        return
    chosen = export.get("members")
    if isinstance(members, Mapping) and isinstance(chosen, list):
        for name in [each for each in chosen if isinstance(each, str) and each not in members]:
            known = ", ".join(map(str, members))
            yield f"export.members: {name!r} names no member; choose one of: {known}, or [] for all"
    trained, chosen = folds.get("train") if isinstance(folds, Mapping) else None, export.get("folds")
    if isinstance(trained, list) and isinstance(chosen, list):
        for fold in [each for each in chosen if each not in trained]:
            known = ", ".join(map(str, trained))
            yield f"export.folds: {fold} is not among folds.train ({known}); correct it, or [] for all"


def student_problems(raw: dict[str, Any]) -> Iterator[str]:
    """Problems between the student's members and rounds, and the members, views and recipes of a params file."""
    try:
        student = StudentParams.model_validate(raw.get("student"))
    except ValidationError:
        return  # already reported by the schema of the whole file
    members = raw.get("members")
    known = list(members) if isinstance(members, Mapping) else []
    for name in student.members:
        if name not in known:
            yield f"student.members names {name!r}, which is no member; choose one of: {', '.join(known)}"
    valid = valid_entries(TypeAdapter(Member), members)
    for name in (each for each in student.members if each in valid):
        yield from _round_problems(student, valid[name], raw)


def _round_problems(student: StudentParams, member: Member, raw: dict[str, Any]) -> Iterator[str]:
    """Problems that the rounds' overrides cause in a member that has none without them."""
    views = valid_entries(TypeAdapter(View), raw.get("views"))
    recipes = valid_entries(TypeAdapter(Recipe), raw.get("train"))
    if list(member_problems("", member, raw, views, recipes)):
        return
    for name, each in student.rounds.items():
        changed = member.model_copy(update={"override": merged(member.override, each.override)})
        yield from member_problems(f"student.rounds.{name}", changed, raw, views, recipes)
