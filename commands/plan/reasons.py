"""Reasons for running a stage: changes since its last run, and their description in a few lines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from birdcache.text import counted

NAMES_AT_MOST = 3
TEXT_AT_MOST = 60  # characters of a value
KINDS = {  # in the order in which they are told, with words for all names of a kind; some are told one by one
    "never ran": "never run before",
    "command": "",
    "key": "",
    "added key": "",
    "removed key": "",
    "code": "code: {} changed",
    "comments": "comments, layout, or code behind no stage: no other stage runs for it",
    "file": "",
    "folder": "",
    "new input": "new input: {}",
    "missing input": "missing input: {}",
    "missing output": "missing output: {}",
    "changed output": "output changed by something else: {}",
    "new output": "new output: {}",
    "lost output": "output missing from DVC's cache: {}",
    "always": "runs every time: it has no inputs",
}


@dataclass(frozen=True)
class Reason:
    """A change: its kind of `KINDS`, the name of the key or file, and the values in dvc.lock and now.

    Values of a key are those of params.yaml, values of a file or folder its `Extent`; other changes have none.
    """

    kind: str
    name: str
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class Extent:
    """Size of a file or folder; `files` is None for a file."""

    bytes: int | None
    files: int | None = None

    def __str__(self) -> str:
        size = "unknown size" if self.bytes is None else size_text(self.bytes)
        return size if self.files is None else f"{counted(self.files, 'files')}, {size}"


def key_changes(name: str, old: Any, new: Any) -> Iterator[Reason]:
    """The changed leaves of a key; an added or removed section counts as one change."""
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
    """The reasons in words, with a line for all files of a kind."""
    text: list[str] = []
    for kind, words in KINDS.items():
        group = [reason for reason in reasons if reason.kind == kind]
        if words and group:
            text.append(words.format(few([reason.name for reason in group])))
        else:
            text += map(_line, group)
    return text


def few(names: Sequence[str]) -> str:
    """The first names and the number of the others."""
    more = len(names) - NAMES_AT_MOST
    return ", ".join(names[:NAMES_AT_MOST]) + (f" and {more:,} more" if more > 0 else "")


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
        case "command":
            return f"command: {old} -> {new}"
        case "added key":
            return f"{name}: added" + ("" if isinstance(new, Mapping) else f", {_value(new)}")
        case "removed key":
            return f"{name}: removed" + ("" if isinstance(old, Mapping) else f", was {_value(old)}")
        case "key":
            return f"{name}: {_value(old)} -> {_value(new)}"
        case _:
            return f"{name} changed: {old}" + (f" -> {new}" if new != old else ", with other contents")


def _value(value: Any) -> str:
    """A value as in params.yaml."""
    if isinstance(value, Mapping):
        return "a section" if value else "{}"
    names: dict[Any, str] = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= TEXT_AT_MOST else f"{text[: TEXT_AT_MOST - 3]}..."
