"""Problems of a params file in words, one line each, and the rules between its sections."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from birdcache.params.embedding import EmbeddingView
from birdcache.params.hints import hint
from birdcache.params.probe import taught_problems
from birdcache.params.recipe import Member, Recipe, merged, resolve_recipe
from birdcache.params.sections import Name, Section
from birdcache.params.student import StudentParams
from birdcache.params.views import MelView, PcenView, ViewParams, unlike


class _WhatMembersUse(Section):
    """The sections in which a key of a member's override may have its place."""

    members: dict[Name, Member]
    train: dict[Name, Recipe]
    views: dict[Name, ViewParams]


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
        return f"{key}: is not a known key; {hint(location, section, _WhatMembersUse if prefix else section, prefix)}"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, dict | list | BaseModel) else f" = {reprlib.repr(value)}"
    return f"{key}{shown}: {message[0].lower()}{message[1:]}; the comment beside the key names unit and effect"


def _location(steps: tuple[Any, ...], raw: Any) -> list[Any]:
    """The keys of the file among pydantic's steps, which also hold tags of unions (views.mel.mel.hop, blend.dict)."""
    location, node = [], raw
    for number, step in enumerate(steps):
        if number == 2 and steps[0] == "views":
            continue  # the view's kind, which may be the name of one of its keys, too
        inside = isinstance(node, Mapping) and step in node
        if (
            inside
            or isinstance(step, int)
            or (number == len(steps) - 1 and step != "[key]" and isinstance(node, Mapping))
        ):
            location.append(step)
        node = node[step] if inside else node
    return location


@dataclass(frozen=True)
class Entries:
    """Those views, recipes and members of a params file that are valid by themselves, and the names of all."""

    views: Mapping[str, MelView | PcenView]
    embeddings: Mapping[str, EmbeddingView]
    recipes: Mapping[str, Recipe]
    members: Mapping[str, Member]
    names: Mapping[str, list[str]]  # by section

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Entries:
        """The entries of a whole file."""
        names = {section: list(map(str, mapping(raw.get(section)))) for section in ("views", "train", "members")}
        views, recipes = valid_entries(ViewParams, raw.get("views")), valid_entries(Recipe, raw.get("train"))
        embeddings = {name: view for name, view in views.items() if isinstance(view, EmbeddingView)}
        images = {name: view for name, view in views.items() if name not in embeddings}
        return Entries(images, embeddings, recipes, valid_entries(Member, raw.get("members")), names)

    def unknown(self, section: str, what: str) -> str:
        """The rule and the way out for a name that a section does not have."""
        return f"names no {what}; choose one of: {', '.join(self.names[section])}"


def mapping(value: Any) -> Mapping[str, Any]:
    """A section, or an empty one where something else stands, which the schema of the whole file reports."""
    return value if isinstance(value, Mapping) else {}


def valid_entries(kind: Any, section: Any) -> dict[str, Any]:
    """Those entries of a section that are valid by themselves."""
    found = {name: valid(kind, entry) for name, entry in mapping(section).items()}
    return {name: entry for name, entry in found.items() if entry is not None}


def valid(kind: Any, value: Any) -> Any:
    """A value as one of a kind, or None if it is none, which the schema of the whole file reports."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None


def cross_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Rules between members, views and recipes, over those entries that are valid by themselves."""
    entries = Entries.of(raw)
    for name, member in entries.members.items():
        yield from member_problems(f"members.{name}", member, entries)


def member_problems(key: str, member: Member, entries: Entries) -> Iterator[str]:
    """Problems between a member, whose section is `key`, and the views and recipe that it names."""
    if member.view not in entries.names["views"]:
        yield f"{key}.view = {member.view!r}: {entries.unknown('views', 'view')}"
    yield from _more_views_problems(f"{key}.more_views = {member.more_views!r}", member, entries)
    if member.recipe not in entries.names["train"]:
        yield f"{key}.recipe = {member.recipe!r}: {entries.unknown('train', 'recipe')}"
    if member.recipe not in entries.recipes:
        return
    try:
        recipe = resolve_recipe(entries.recipes[member.recipe], member.override)
    except ValidationError as error:
        tried = merged(entries.recipes[member.recipe].model_dump(), member.override)
        yield from (explain(problem, tried, Recipe, f"{key}.override.") for problem in error.errors())
        return
    taught = taught_problems(key, recipe, member, entries.embeddings)
    found = [*taught, *_pcen_problems(key, recipe, member, entries.views)]
    if member.view in entries.views:
        found = [*_recipe_on_view_problems(key, recipe, member, entries.views[member.view]), *found]
    yield from (f"{key}: {problem}" for is_so, problem in found if is_so)


Ruled = Iterable[tuple[object, str]]  # whether something is wrong, and how that is told


def _recipe_on_view_problems(key: str, recipe: Recipe, member: Member, view: MelView | PcenView) -> Ruled:
    frame_s, frames = view.n_fft / view.sample_rate_hz, view.frames(recipe.clip_s)
    clip_s, shift_s, masks = recipe.clip_s, recipe.augment.time_shift_s, recipe.augment.spec_augment
    bins, on = view.n_mels, f"of view {member.view}"
    yield clip_s < frame_s, f"clip_s = {clip_s} is shorter than a frame {on} ({frame_s:g} s); lengthen clip_s"
    yield shift_s > clip_s, f"time_shift_s = {shift_s} is longer than clip_s ({clip_s}); lower it"
    yield masks.mel_width > bins, f"mel_width = {masks.mel_width} is over the {bins} mel bins {on}; lower it"
    yield masks.time_width > frames, f"time_width = {masks.time_width} is over the {frames} frames of a clip; lower it"
    yield (
        recipe.loss.frame_max and member.head != "sed",
        f"loss.frame_max = {recipe.loss.frame_max:g} needs scores for every frame; set {key}.head: sed, or "
        f"{key}.override.loss.frame_max: 0.0",
    )
    yield (
        recipe.channels == ["pcen"] and recipe.dynamic_range_db,
        f"dynamic_range_db = {recipe.dynamic_range_db:g} has no meaning for the channel pcen, not in dB; set "
        f"{key}.override.dynamic_range_db: 0.0",
    )


def _more_views_problems(key: str, member: Member, entries: Entries) -> Iterator[str]:
    for place, name in enumerate(member.more_views):
        if name not in entries.names["views"]:
            yield f"{key}: {name} {entries.unknown('views', 'view')}"
        elif name in member.views[: place + 1]:
            yield f"{key}: the member has view {name} already; name each view once"
        elif name in entries.views and member.view in entries.views:
            yield from _geometry_problems(key, member.view, name, entries.views)


def _geometry_problems(key: str, first: str, name: str, views: Mapping[str, MelView | PcenView]) -> Iterator[str]:
    """Images can be channels of one only if a pixel means the same time and frequency in all of them."""
    for differing in unlike(views[first], views[name]):
        here, there = getattr(views[name], differing), getattr(views[first], differing)
        yield (
            f"{key}: views.{name}.{differing} = {here!r}, but views.{first}.{differing} = {there!r}: channels of one "
            f"image need the same; add a view like {name} with {differing}: {there}, or train a member on each view "
            "and let them vote"
        )


def _pcen_problems(key: str, recipe: Recipe, member: Member, views: Mapping[str, MelView | PcenView]) -> Ruled:
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
        "augment.mixstyle.probability": augment.mixstyle.probability * alone,
        "augment.background.probability": augment.background.probability,
        "augment.noise.probability": augment.noise.probability,
        "dynamic_range_db": recipe.dynamic_range_db * alone,
        "trim_db": recipe.trim_db * (member.view in pcen),
    }
    other = "" if alone else ", or leave that view out and set channels: [level, pcen], of the mixed clip"
    for name, value in nought.items():
        hint = f"set {key}.override.{name}: 0.0{other}"
        yield value, f"{name} = {value:g} has no meaning on the PCEN values {on}; {hint}"
    hint = f"set {key}.override.channels: [level]"
    yield "pcen" in recipe.channels, f"the channel pcen would be PCEN of the PCEN values {on}; {hint}"


def ensemble_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Problems between the ensemble and the members of a params file."""
    ensemble, members = mapping(raw.get("ensemble")), mapping(raw.get("members"))
    best, count = ensemble.get("best"), len(members)
    for name in [each for each in mapping(ensemble.get("blend")) if each not in members]:
        yield f"ensemble.blend.{name}: names no member; choose one of: {', '.join(map(str, members))}"
    if ensemble.get("blend") == "best" and isinstance(best, int) and best > count > 0:
        yield f"ensemble.best = {best}: there are only {count} members; lower it, or choose blend: mean"


def export_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Problems between the bundle and the members and folds of a params file."""
    for key, known in (("members", raw.get("members")), ("folds", mapping(raw.get("folds")).get("train"))):
        chosen = mapping(raw.get("export")).get(key)
        if isinstance(known, Mapping | list) and isinstance(chosen, list):
            for each in [each for each in chosen if each not in list(known)]:
                there = "members" if key == "members" else "folds.train"
                choice = ", ".join(map(str, known))
                yield f"export.{key}: {each!r} is not among {there} ({choice}); correct it, or [] for all"


def student_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Problems between the student's members and rounds, and the members, views and recipes of a params file."""
    student: StudentParams | None = valid(StudentParams, raw.get("student"))
    if student is None:
        return
    entries = Entries.of(raw)
    for name in student.members:
        if name not in entries.names["members"]:
            known = ", ".join(entries.names["members"])
            yield f"student.members names {name!r}, which is no member; choose one of: {known}"
        elif name in entries.members:
            yield from _round_problems(student, entries.members[name], entries)


def _round_problems(student: StudentParams, member: Member, entries: Entries) -> Iterator[str]:
    """Problems that the rounds' overrides cause in a member that has none without them."""
    if list(member_problems("", member, entries)):
        return
    for name, each in student.rounds.items():
        changed = member.model_copy(update={"override": merged(member.override, each.override)})
        yield from member_problems(f"student.rounds.{name}", changed, entries)
