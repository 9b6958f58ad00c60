"""A file of source code: the digest of what it does, and what it refers to.

The digest is that of the syntax tree, without comments, docstrings and layout, and the same on every supported Python.
"""

import ast
import hashlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

LONGEST_NAME = 100  # characters of a string that may name a module or a file


class File(NamedTuple):
    """What a file of the project does and refers to.

    Attributes
    ----------
    digest : SHA-256 of what can reach a result; empty if there is nothing, as in most __init__.py.
    modules : names of all modules that may be imported, inside functions too; some are names in a module instead.
    texts : strings that may name a module or a file.
    """

    digest: str
    modules: list[str]
    texts: set[str]


def read_file(name: str, content: bytes) -> File:
    """Read a file; its name is relative to the project's root."""
    if not name.endswith(".py"):
        return File(hashlib.sha256(content).hexdigest(), [], set())
    nodes = without_loose_texts(ast.parse(content))
    text, modules = canonical(nodes[0]).encode(), list[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = Path(name).parts[: -node.level] if node.level else ()
            base = ".".join([*around, *filter(None, [node.module])])
            modules += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    texts = {value for value in constants if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME}
    return File("" if text == b"Module()" else hashlib.sha256(text).hexdigest(), modules, texts)


def without_loose_texts(tree: ast.AST) -> list[ast.AST]:
    """All nodes of a tree, the root first, out of which docstrings and texts that nothing is done with are taken."""
    nodes = [tree]
    for node in nodes:  # which grows meanwhile
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                nodes.append(value)
            elif isinstance(value, list):
                value[:] = [each for each in value if not _is_loose_text(each)]
                nodes += [each for each in value if isinstance(each, ast.AST)]
    return nodes


def _is_loose_text(node: Any) -> bool:
    return type(node) is ast.Expr and type(node.value) is ast.Constant and type(node.value.value) is str


def canonical(value: Any) -> str:
    """A syntax tree as text that is the same on every Python; `ast.dump` and `repr` of some texts are not."""
    if isinstance(value, list):
        return "[" + "".join(f"{canonical(each)}," for each in value) + "]"
    if not isinstance(value, ast.AST):
        return ascii(value)
    fields = ""
    for name in value._fields:
        field = getattr(value, name, None)
        if field is not None and field != [] and name != "kind":  # newer Pythons have more fields, empty in ours
            fields += f"{name}={canonical(_joined(field) if type(value) is ast.JoinedStr else field)}"
    return f"{type(value).__name__}({fields})"


def _joined(parts: Sequence[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts as one: Pythons cut them differently."""
    found: list[ast.expr] = []
    for is_text, group in groupby(parts, lambda part: isinstance(part, ast.Constant)):
        texts = list(group)
        found += [ast.Constant("".join(ast.literal_eval(text) for text in texts))] if is_text else texts
    return [part for part in found if not (isinstance(part, ast.Constant) and part.value == "")]
