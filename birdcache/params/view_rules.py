"""Rules between a member and the views that it looks at: which may stand side by side, and what PCEN rules out."""

from __future__ import annotations

from collections.abc import Iterator

from birdcache.params.members import Member
from birdcache.params.recipe import Recipe
from birdcache.params.views import MelView, PcenView, unlike


def more_views_problems(
    key: str, member: Member, names: list[str], views: dict[str, MelView | PcenView]
) -> Iterator[str]:
    """What is wrong with the views that a member names beside its first.

    Parameters
    ----------
    names : of all views of params.yaml; `views` holds those that are valid by themselves.
    """
    for place, name in enumerate(member.views[1:]):
        if name not in names:
            yield f"{key}.more_views = {member.more_views!r}: {name} names no view; choose one of: {', '.join(names)}"
        elif name in member.views[: place + 1]:
            yield f"{key}.more_views = {member.more_views!r}: the member looks at {name} already; name each view once"
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
