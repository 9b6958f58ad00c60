"""The way out for a key that its section does not know."""

import difflib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from birdcache.params.sections import Section

NAMED = "*"  # stands for a name that users choose: of a view, a recipe, a member ...
PLACES_SHOWN = 3
ALIKE = 0.7  # from which on two names are rather one misspelt than one out of place


def hint(location: Sequence[Any], section: type[Section], whole: type[Section], prefix: str = "") -> str:
    """What to do about an unknown key.

    Parameters
    ----------
    location : of the key, from `section` on; its place in the file is that with `prefix` before it.
    whole : the schema of the file, in which the key may have its place elsewhere.
    """
    *steps, key = (str(step) for step in location)
    inside = _keys(section)
    beside = {path[-1] for path in inside if len(path) == len(location) and _fits(path[:-1], steps)}
    if key in beside:
        return "it belongs to another kind of this section; remove it, or change kind"
    if close := difflib.get_close_matches(key, beside, n=1, cutoff=ALIKE):
        return f"did you mean {close[0]}?"
    here = {prefix + _text(path, steps) for path in inside if path[-1] == key}
    places = sorted(
        here or {_text(path, steps) for path in _keys(whole) if path[-1] == key}, key=lambda place: (len(place), place)
    )
    if places:
        more = f" or {len(places) - PLACES_SHOWN} more sections" if len(places) > PLACES_SHOWN else ""
        return f"it belongs under {' or '.join(places[:PLACES_SHOWN])}{more}; move it there, or remove it"
    close = difflib.get_close_matches(key, beside, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"


@cache
def _keys(section: type[Section]) -> tuple[tuple[str, ...], ...]:
    """The paths of all keys of a section and of those in it."""
    return tuple(dict.fromkeys(path for path, _ in walked(section)))


def walked(annotation: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """All keys of a section and of those in it: the path of each, with its type and rule."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        for name, field in annotation.model_fields.items():
            yield (*path, name), field
            yield from walked(field.annotation, (*path, name))
    elif get_origin(annotation) is dict:
        yield from walked(get_args(annotation)[1], (*path, NAMED))
    elif get_origin(annotation) is Annotated:
        yield from walked(get_args(annotation)[0], path)
    elif annotation is not Any and get_origin(annotation) not in (list, None):
        for choice in get_args(annotation):
            yield from walked(choice, path)


def _fits(pattern: Sequence[str], steps: Sequence[str]) -> bool:
    return all(expected in (NAMED, step) for expected, step in zip(pattern, steps, strict=True))


def _text(path: Sequence[str], steps: Sequence[str]) -> str:
    """A path in words, with the names that the refused key stands under as far as it leads the same way."""
    shown = []
    for number, part in enumerate(path):
        same = number < len(steps) and _fits(path[: number + 1], steps[: number + 1])
        named = "recipe" if path[number - 1] == "train" else path[number - 1].removesuffix("s")
        shown.append(part if part != NAMED else steps[number] if same else f"<{named}>")
    return ".".join(shown)
