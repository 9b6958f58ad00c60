"""Problems of a params file in words, one line each, and the rules between its sections."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

from pydantic import BaseModel, ValidationError

from birdcache.params.augment import AugmentParams
from birdcache.params.embedding import EmbeddingView
from birdcache.params.hints import hint
from birdcache.params.ladder import Ablation, Ladder, ablated
from birdcache.params.model import Params
from birdcache.params.probe import taught_problems
from birdcache.params.recipe import Member, Recipe, merged, resolve_recipe
from birdcache.params.sections import Section
from birdcache.params.tune import tune_problems
from birdcache.params.views import MelView, PcenView, unlike

OF_WINDOWS = "augment.windows_override."
OF_A_BATCH = (  # keys of `augment` whose values are not drawn for each clip
    *("eq.bands", "eq.smooth", "eq.fewest_bands", "background.label", "noise.colour", "lowpass.db_per_octave"),
    *("spec_augment.mel_masks", "spec_augment.time_masks", "mixup.third"),
)


def explain(problem: Any, raw: Any, section: type[Section], prefix: str = "") -> str:
    """One line for one pydantic problem: key, value, rule, way out.

    Parameters
    ----------
    section : the schema that has the problem; its keys stand under `prefix`, those of the file under none.
    """
    location = _location(problem["loc"], raw)
    key = (prefix + ".".join(str(part) for part in location)).removesuffix(".")
    if problem["type"] == "missing":
        return f"{key}: is missing; add it (docs/parameters.md shows its shipped value)"
    if problem["type"] == "extra_forbidden":
        return f"{key}: is not a known key; {hint(location, section, Params, prefix)}"
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


def problems(params: Params) -> Iterator[str]:
    """All broken rules between the sections of a file, each of which is valid by itself."""
    yield from _ensemble_problems(params)
    yield from _export_problems(params)
    for name, member in params.members.items():
        yield from member_problems(f"members.{name}", member, params)
    yield from _ladder_problems(params.ladder, params)
    yield from _student_problems(params)
    yield from tune_problems(params.tune)


def member_problems(key: str, member: Member, params: Params) -> Iterator[str]:
    """Problems between a member, whose section is `key`, and the views and recipe that it names."""
    if member.view not in params.views:
        yield f"{key}.view = {member.view!r}: names no view; {_choose(params.views)}"
    yield from _more_views_problems(f"{key}.more_views = {member.more_views!r}", member, params)
    if member.recipe not in params.train:
        yield f"{key}.recipe = {member.recipe!r}: names no recipe; {_choose(params.train)}"
        return
    try:
        recipe = resolve_recipe(params.train[member.recipe], member.override)
    except ValidationError as error:
        tried = merged(params.train[member.recipe].model_dump(), member.override)
        yield from (explain(problem, tried, Recipe, f"{key}.override.") for problem in error.errors())
        return
    yield from _recipe_problems(key, recipe, member, params) or _windows_problems(key, recipe, member, params)


def _recipe_problems(key: str, recipe: Recipe, member: Member, params: Params) -> list[str]:
    embeddings = {name: view for name, view in params.views.items() if isinstance(view, EmbeddingView)}
    taught, views = taught_problems(key, recipe, member, embeddings), params.spectrograms
    found = [*taught, *_pcen_problems(key, recipe, member, views), *_specialist_problems(key, recipe, member)]
    if member.view in views:
        found = [*_recipe_on_view_problems(key, recipe, member, views[member.view]), *found]
    return [f"{key}: {problem}" for is_so, problem in found if is_so]


def _windows_problems(key: str, recipe: Recipe, member: Member, params: Params) -> Iterator[str]:
    """Problems that only the augmentation of clips on labelled windows has."""
    override = recipe.augment.windows_override
    try:
        windows = recipe.of_windows
    except ValidationError as error:
        yield from (explain(each, override, AugmentParams, f"{key}: {OF_WINDOWS}") for each in error.errors())
        return
    for name in OF_A_BATCH:
        own, theirs = (reduce(getattr, name.split("."), each.augment) for each in (recipe, windows))
        if own != theirs:
            yield f"{key}: {OF_WINDOWS}{name} = {theirs}, and {own} without it: a batch has one; remove it there"
    found = _recipe_problems(key, windows, member, params)
    yield from (re.sub(r"\baugment\.", OF_WINDOWS, problem) for problem in found)


def _choose(names: Iterable[str]) -> str:
    return f"choose one of: {', '.join(names)}"


Ruled = Iterable[tuple[object, str]]  # whether something is wrong, and how that is told


def _recipe_on_view_problems(key: str, recipe: Recipe, member: Member, view: MelView | PcenView) -> Ruled:
    frame_s, frames = view.n_fft / view.sample_rate_hz, view.frames(recipe.clip_s)
    clip_s, shift_s, masks = recipe.clip_s, recipe.augment.time_shift_s, recipe.augment.spec_augment
    bins, on, lowpass = view.n_mels, f"of view {member.view}", recipe.augment.lowpass
    yield clip_s < frame_s, f"clip_s = {clip_s} is shorter than a frame {on} ({frame_s:g} s); lengthen clip_s"
    shorter = recipe.augment.shorter
    yield (
        shorter.probability and not frame_s <= shorter.clip_s < clip_s,
        f"augment.shorter.clip_s = {shorter.clip_s:g} is no length between a frame {on} ({frame_s:g} s) and clip_s "
        f"({clip_s:g}); change it",
    )
    yield shift_s > clip_s, f"augment.time_shift_s = {shift_s} is longer than clip_s ({clip_s}); lower it"
    yield (
        lowpass.probability and lowpass.lowest_hz >= view.fmax_hz,
        f"augment.lowpass.lowest_hz = {lowpass.lowest_hz:g} is not below fmax_hz {on} ({view.fmax_hz:g}); lower it",
    )
    for name, most, what in (("mel_width", bins, f"mel bins {on}"), ("time_width", frames, "frames of a clip")):
        width = getattr(masks, name)
        yield width > most, f"augment.spec_augment.{name} = {width} is over the {most} {what}; lower it"
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


def _more_views_problems(key: str, member: Member, params: Params) -> Iterator[str]:
    views = params.spectrograms
    for place, name in enumerate(member.more_views):
        if name not in params.views:
            yield f"{key}: {name} names no view; {_choose(params.views)}"
        elif name in member.views[: place + 1]:
            yield f"{key}: the member has view {name} already; name each view once"
        elif name in views and member.view in views:
            yield from _geometry_problems(key, member.view, name, views)


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
        "augment.lowpass.probability": augment.lowpass.probability * alone,
        "augment.distance.probability": augment.distance.probability * alone,
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


def _specialist_problems(key: str, recipe: Recipe, member: Member) -> Ruled:
    """What would have a member of some classes speak of the others."""
    if member.labels is None:
        return
    yield (
        recipe.loss.exclusive and not member.labels.others,
        f"labels.others = 0, and loss.kind = {recipe.loss.kind} shares a score of 1 among the classes: all other "
        f"sounds would be taken for {' or '.join(member.labels.class_name)}; raise others, or set "
        f"{key}.override.loss.kind: bce",
    )
    yield key.startswith("ladder."), "labels: rungs are compared on all classes; remove it"


def _ensemble_problems(params: Params) -> Iterator[str]:
    blend, best, count = params.ensemble.blend, params.ensemble.best, len(params.members)
    for name in blend if isinstance(blend, Mapping) else ():
        if name not in params.members:
            yield f"ensemble.blend.{name}: names no member; {_choose(params.members)}"
    if blend == "best" and best > count:
        yield f"ensemble.best = {best}: there are only {count} members; lower it, or choose blend: mean"


def _export_problems(params: Params) -> Iterator[str]:
    known: dict[str, Iterable[Any]] = {"members": params.members, "folds.train": params.folds.train}
    for there, names in known.items():
        key = there.removesuffix(".train")
        for each in getattr(params.export, key):
            if each not in names:
                choice = ", ".join(map(str, names))
                yield f"export.{key}: {each!r} is not among {there} ({choice}); correct it, or [] for all"


def _ladder_problems(ladder: Ladder, params: Params) -> Iterator[str]:
    """Problems between the ladder's keys, and between these and views, recipes and folds."""
    for name, rung in ladder.rungs.items():
        yield from member_problems(f"ladder.rungs.{name}", rung, params)
    for name, ablation in ladder.ablations.items():
        yield from _ablation_problems(f"ladder.ablations.{name}", ablation, params)
    yield from _name_problems(ladder)
    count = params.folds.count
    if not all(0 <= fold < count for fold in ladder.folds):
        rule = f"must name folds between 0 and {count - 1}; correct the list or raise folds.count"
        yield f"ladder.folds = {ladder.folds}: {rule}"


def _ablation_problems(key: str, ablation: Ablation, params: Params) -> Iterator[str]:
    rungs = params.ladder.rungs
    if ablation.rung not in rungs:
        yield f"{key}.rung = {ablation.rung!r}: names no rung; {_choose(rungs)}"
        return
    rung = rungs[ablation.rung]
    try:
        member = ablated(rung, ablation.without)
    except ValidationError as error:
        yield from (explain(problem, {}, Member, f"{key}.without.") for problem in error.errors())
        return
    found = list(member_problems(f"{key}.without", member, params))
    yield from found
    if not found and not list(member_problems("", rung, params)) and _same_training(member, rung, params):
        yield f"{key}.without: changes nothing of rung {ablation.rung}; name keys with values that it does not have"


def _same_training(member: Member, rung: Member, params: Params) -> bool:
    """True if both, which have no problems, are trained alike, however their sections are written."""
    plain = {"recipe": "", "override": {}}
    if member.model_copy(update=plain) != rung.model_copy(update=plain):
        return False
    one, other = (resolve_recipe(params.train[each.recipe], each.override) for each in (member, rung))
    return one == other


def _name_problems(ladder: Ladder) -> Iterator[str]:
    count = Counter([*ladder.rungs, *ladder.ensemble, *ladder.ablations])
    for name in (name for name, times in count.items() if times > 1):
        yield f"ladder: {name!r} names several of rungs, ensemble and ablations; rename all but one"
    for name, rungs in ladder.ensemble.items():
        for number, rung in enumerate(rungs):
            key = f"ladder.ensemble.{name}.{number} = {rung!r}"
            if rung not in ladder.rungs:
                yield f"{key}: names no rung; {_choose(ladder.rungs)}"
            elif rung in rungs[:number]:
                yield f"{key}: is there already; name each rung once"


def _student_problems(params: Params) -> Iterator[str]:
    """Problems between the student's members and rounds, and the members, views and recipes."""
    for name in params.student.members:
        if name not in params.members:
            yield f"student.members names {name!r}, which is no member; {_choose(params.members)}"
        elif params.members[name].labels:
            yield f"student.members names {name!r}, whose labels are some classes; name members that are for all"
        elif not list(member_problems("", member := params.members[name], params)):
            for number, each in params.student.rounds.items():
                changed = member.model_copy(update={"override": merged(member.override, each.override)})
                yield from member_problems(f"student.rounds.{number}", changed, params)
