"""Why a stage runs: what changed since its last run, from what to what, and how that is told in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

Kind = Literal[
    "never ran",
    "command",
    "key",
    "added key",
    "removed key",
    "code",
    "comments",
    "file",
    "folder",
    "new input",
    "missing input",
    "missing output",
    "changed output",
    "new output",
    "lost output",
    "always",
]
NAMES_AT_MOST = 3
TEXT_AT_MOST = 60  # characters of a value
_LISTS: dict[Kind, str] = {
    "code": "code: {} changed",
    "new input": "new input: {}",
    "missing input": "missing input: {}",
    "missing output": "missing output: {}",
    "changed output": "output that the stage did not write: {}",
    "new output": "new output: {}",
    "lost output": "output that DVC's cache has lost: {}",
}


@dataclass(frozen=True)
class Reason:
    """One change: of what kind, of which key or file, and its values as dvc.lock knows them and as they are now.

    A key's values are those of params.yaml; a file's or folder's are their `Extent`; others have none.
    """

    kind: Kind
    name: str
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class Extent:
    """How much a file or folder holds; a file has no number of files."""

    bytes: int | None
    files: int | None = None

    def __str__(self) -> str:
        size = "unknown size" if self.bytes is None else size_text(self.bytes)
        return size if self.files is None else f"{counted(self.files, 'files')}, {size}"


def key_changes(name: str, old: Any, new: Any) -> Iterator[Reason]:
    """The leaves of a key that changed; a whole section that came or went counts as one."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*new, *old]):
            if key not in new:
                yield Reason("removed key", f"{name}.{key}", old=old[key])
            elif key not in old:
                yield Reason("added key", f"{name}.{key}", new=new[key])
            else:
                yield from key_changes(f"{name}.{key}", old[key], new[key])
    elif old != new:
        yield Reason("key", name, old, new)


def lines(reasons: Sequence[Reason]) -> list[str]:
    """The reasons in words, files of one kind in one line."""
    told: list[str] = []
    ordered = sorted(reasons, key=lambda reason: get_args(Kind).index(reason.kind))
    for kind, group in groupby(ordered, lambda reason: reason.kind):
        if kind in _LISTS:
            told.append(_LISTS[kind].format(few([reason.name for reason in group])))
        else:
            told += [_line(reason) for reason in group]
    return told


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMES_AT_MOST
    return ", ".join(names[:NAMES_AT_MOST]) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, things: str) -> str:
    """A number of things, whose name ends in s unless there is just one: 18 recordings, 1 soundscape."""
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def size_text(size: float) -> str:
    """Bytes with a decimal unit and three digits: 512 B, 26.8 kB, 53.5 MB, 1.20 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:,.{digits}f} {unit}"


def _line(reason: Reason) -> str:
    name, old, new = reason.name, reason.old, reason.new
    match reason.kind:
        case "never ran":
            return "never run before"
        case "always":
            return "runs each time: it names no input"
        case "comments":
            return "comments, layout, or code behind no stage: no other stage runs for it"
        case "command":
            return f"command: {old} -> {new}"
        case "added key":
            return f"{name}: added" + ("" if isinstance(new, Mapping) else f", {_value(new)}")
        case "removed key":
            return f"{name}: removed" + ("" if isinstance(old, Mapping) else f", was {_value(old)}")
        case "key":
            return f"{name}: {_value(old)} -> {_value(new)}"
        case _:
            return f"{name} changed: {old}" + (f" -> {new}" if new != old else ", as before, but other contents")


def _value(value: Any) -> str:
    """A value as params.yaml spells it."""
    if isinstance(value, Mapping):
        return "a section" if value else "{}"
    names: dict[Any, str] = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= TEXT_AT_MOST else f"{text[: TEXT_AT_MOST - 3]}..."
