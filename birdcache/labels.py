"""The rule for labels: one word in tables, folders and file names alike."""

import re

from birdcache.unknown import is_unknown

LONGEST = 64
LABEL_RULE = (
    "a label is made of A-Z, a-z, 0-9, space, _ . and -, begins with a letter, a digit or _, ends in no space or dot, "
    f"is at most {LONGEST} characters long, and is neither row_id nor a device of Windows such as con or nul"
)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 _.-]*[A-Za-z0-9_-])?")
_TAKEN = re.compile(r"(row_id|con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def is_label(text: str) -> bool:
    """True if the text may name a class: it becomes a column of tables and is safe as the name of a file."""
    return len(text) <= LONGEST and _LABEL.fullmatch(text) is not None and _TAKEN.fullmatch(text) is None


def is_word_list(text: str) -> bool:
    """True if the text is labels without spaces, separated by spaces; empty text is."""
    return all(map(is_label, text.split()))


def parse_secondary(text: str) -> tuple[str, ...] | None:
    """Read a list of labels as BirdCLEF writes it: `['a', 'b']`, `[]`, `['']` or nothing; '?' and its like are skipped.

    Returns
    -------
    The labels, each once, or None if the text is no such list or a label holds a space or another odd character.
    """
    if not text:
        return ()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    inner = text[1:-1].strip()
    quoted = [cell.strip() for cell in inner.removesuffix(",").split(",")] if inner else []
    if not all(len(cell) > 1 and cell[0] in "'\"" and cell[0] == cell[-1] for cell in quoted):
        return None
    words = dict.fromkeys(cell[1:-1].strip() for cell in quoted)
    labels = tuple(word for word in words if is_label(word) or not is_unknown(word))
    return labels if all(" " not in label and is_label(label) for label in labels) else None
