"""What may be a label: one word in tables, folders and file names alike."""

from __future__ import annotations

import ast
import re

LABEL_RULE = (
    "a label is made of A-Z, a-z, 0-9, space, _ . and -, begins with a letter, a digit or _, and ends in no space"
)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 _.-]*[A-Za-z0-9_.-])?")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_label(text: str) -> bool:
    """Whether the text may name a class."""
    return _LABEL.fullmatch(text) is not None


def is_word_list(text: str) -> bool:
    """Whether the text is labels without spaces, separated by spaces; empty text is."""
    return all(_WORD.fullmatch(word) for word in text.split())


def parse_secondary(text: str) -> tuple[str, ...] | None:
    """Read a list of labels as BirdCLEF writes it: `['a', 'b']`, `[]`, `['']` or nothing.

    Returns
    -------
    The labels, each once, or None if the text is no such list or a label holds a space or another odd character.
    """
    if not text:
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        return None
    labels = tuple(dict.fromkeys(label.strip() for label in value if label.strip()))
    return labels if all(_WORD.fullmatch(label) for label in labels) else None
