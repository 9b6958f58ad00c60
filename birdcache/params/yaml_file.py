"""YAML that one cannot trust, read with bounds: no file keeps a command busy for more than a moment."""

import re
import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.scanner import Scanner

from birdcache.errors import BirdcacheError

# the shipped file has 24 kB, 1,100 values and keys, and is 7 levels deep
MOST_BYTES, MOST_NODES, DEEPEST, LONGEST = 2**17, 10_000, 50, 3000
NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and halves of some


class ParamsError(BirdcacheError):
    """params.yaml is unusable; the message lists every problem with key, value, rule and way out."""


class _TooMuchError(YAMLError):
    """A text breaks one of the bounds."""


class _BoundedScanner(Scanner):
    """Refuses brackets in brackets early: each makes the search for keys slower."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:
        if self.flow_level >= DEEPEST:
            raise _TooMuchError(f"line {self.reader.line + 1}: over {DEEPEST} brackets are open")
        super().fetch_flow_collection_start(TokenClass, to_push)


class _BoundedComposer(Composer):
    """Counts values and keys, those behind an alias each time that it stands for them."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self._count, self._level = 0, 0
        self._counts: dict[str, int] = {}  # by anchor; one that is still open has none

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        begin, anchor, is_alias = self._count, event.anchor, isinstance(event, AliasEvent)
        if is_alias and anchor in self.anchors and anchor not in self._counts:
            raise _TooMuchError(f"line {event.start_mark.line + 1}: the alias *{anchor} stands within what it repeats")
        self._count += self._counts.get(anchor, 0) if is_alias else 1
        self._level += 1
        if self._count > MOST_NODES or self._level > DEEPEST:
            bounds = f"over {MOST_NODES:,} values and keys (aliases counted out), or over {DEEPEST} levels of nesting"
            raise _TooMuchError(f"line {event.start_mark.line + 1}: {bounds}")
        node = super().compose_node(parent, index)
        if isinstance(node, ScalarNode) and (len(node.value) > LONGEST or NO_TEXT.search(node.value)):
            raise _TooMuchError(
                f"line {event.start_mark.line + 1}: a value has over {LONGEST} characters, or one that is not text"
            )
        self._level -= 1
        if anchor is not None and not is_alias:
            self._counts[anchor] = self._count - begin
        return node


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; a ParamsError if it is none, or not YAML 1.2 in UTF-8 within this module's bounds."""
    try:
        if path.exists() and not path.is_file():
            raise ParamsError(f"{path}: is no regular file; put a text file there, or run `birdcache init --demo`")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run `birdcache init --demo` in the project's folder") from None
    if len(content) > MOST_BYTES:
        raise ParamsError(f"{path}: is larger than {MOST_BYTES // 1024} KiB, which no parameters are; restore it")
    try:
        return parse_yaml(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        why = f"line {line}: the byte {content[error.start]:#04x} is not UTF-8; save the file in UTF-8"
    except ValueError as error:
        why = str(error)
    raise ParamsError(f"{path}: is not readable as YAML 1.2 in UTF-8; correct this place:\n{why}")


def parse_yaml(text: str) -> Any:
    """The content of a YAML text; a ValueError says where it is not YAML 1.2 within the bounds of this module."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner, yaml.Composer = _BoundedScanner, _BoundedComposer
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is set twice
            content = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        hint = "; indent with blanks, not with tabs" if "\\t" in str(error.problem) else ""
        raise ValueError(f"{place}{error.problem or error.context}{hint}") from None
    except YAMLError as error:
        raise ValueError(str(error)) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"a value is no number or date, but looks or is marked like one: {error}") from None
    _refuse_others(content)
    return content


def _refuse_others(value: Any, place: str = "") -> None:
    """Refuse dates, sets, bytes and names that are no text: parameters are text, numbers, lists and sections."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{place}{key}: a key must be text; put it in quotes")
            _refuse_others(inner, f"{place}{key}.")
    elif isinstance(value, list):
        for inner in value:
            _refuse_others(inner, place)
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{place[:-1]} = {value}: is read as a {type(value).__name__}; put it in quotes")
