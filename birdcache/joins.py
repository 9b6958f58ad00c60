"""Joins of tables and files by name: one that finds nothing is an error, one that finds a part is told."""

from collections.abc import Collection, Sequence

from birdcache.errors import PipelineError


def join_warnings(
    names: str, asked: Sequence[str], found: Sequence[bool], there: Collection[str], place: str, hint: str
) -> list[str]:
    """A warning that counts the names that were not found; none if all were.

    A PipelineError if there are names, and none of them was found.

    Parameters
    ----------
    names, place : what was looked up, and where, as in "labels of the truth" and "labels of a recording".
    asked, found : the names, and whether each was found.
    there : what could have been found; an example is shown beside one of the names.
    hint : the way out.
    """
    lost = [name for name, is_found in zip(asked, found, strict=True) if not is_found]
    if not lost:
        return []
    if len(lost) < len(asked):
        return [f"{len(lost)} of {len(asked)} {names} are not {place}, first {lost[0]!r}; {hint}"]
    example = f"there is {min(there)!r}" if there else "there is none at all"
    raise PipelineError(f"none of {len(asked)} {names} is {place}, first {lost[0]!r}, while {example}; {hint}")
