"""A file of source code: the digest of what it does, and what it refers to.

The digest is that of the syntax tree, without comments, docstrings and layout, and the same on every supported Python.
"""

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

LONGEST_NAME = 100  # characters of a string that may name a module or a file


@dataclass(frozen=True)
class File:
    """A file of the project, and what it holds."""

    name: str
    content: bytes

    @cached_property
    def _nodes(self) -> list[ast.AST]:
        return list(ast.walk(self._tree)) if self._tree else []

    @cached_property
    def _tree(self) -> ast.AST | None:
        return without_loose_texts(ast.parse(self.content)) if self.name.endswith(".py") else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what can reach a result; empty if there is nothing, as in most __init__.py."""
        text = self.content if self._tree is None else canonical(self._tree).encode()
        return "" if text == b"Module()" else hashlib.sha256(text).hexdigest()

    @cached_property
    def modules(self) -> list[str]:
        """Names of all modules that may be imported, inside functions too; some are names in a module instead."""
        found = []
        for node in self._nodes:
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                around = Path(self.name).parts[: -node.level] if node.level else ()
                base = ".".join([*around, *filter(None, [node.module])])
                found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        return found

    @cached_property
    def texts(self) -> set[str]:
        """Strings that may name a module or a file."""
        constants = (node.value for node in self._nodes if isinstance(node, ast.Constant))
        return {value for value in constants if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME}


def without_loose_texts(tree: ast.AST) -> ast.AST:
    """The tree without its docstrings and other texts that nothing is done with."""
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, block, None), list):
                setattr(node, block, [statement for statement in statements if not _is_loose_text(statement)])
    return tree


def _is_loose_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def canonical(tree: ast.AST) -> str:
    """A syntax tree as text that is the same on every Python; `ast.dump` and `repr` of some texts are not."""
    pieces: list[str] = []
    _dump(tree, pieces)
    return "".join(pieces)


def _dump(value: Any, pieces: list[str]) -> None:
    if isinstance(value, ast.AST):
        pieces.append(f"{type(value).__name__}(")
        for name in value._fields:
            field = getattr(value, name, None)
            if field is not None and field != [] and name != "kind":  # newer Pythons have more fields, empty in ours
                pieces.append(f"{name}=")
                _dump(_joined(field) if type(value) is ast.JoinedStr else field, pieces)
        pieces.append(")")
    elif isinstance(value, list):
        pieces.append("[")
        for each in value:
            _dump(each, pieces)
            pieces.append(",")
        pieces.append("]")
    else:
        pieces.append(ascii(value))


def _joined(parts: Sequence[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts as one: Pythons cut them differently."""
    found: list[ast.expr] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, ast.Constant)):
        texts = list(group)
        found += [ast.Constant("".join(ast.literal_eval(text) for text in texts))] if is_text else texts
    return [part for part in found if not (isinstance(part, ast.Constant) and part.value == "")]
