"""Text from strangers, as it may be printed, and seconds in names and tables."""

import re
from collections.abc import Sequence

# control characters (escapes of terminals), halves of characters, further ends of lines, and what turns text round
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def is_printable(text: str) -> bool:
    """True if a terminal and a table show the text as it is."""
    return UNPRINTABLE.search(text) is None


def printable(text: str, kept: str = "") -> str:
    """The text with an escape such as \\x1b in place of each unprintable character, but for those in `kept`."""
    return UNPRINTABLE.sub(lambda found: found[0] if found[0] in kept else ascii(found[0])[1:-1], text)


def few(names: Sequence[str], most: int = 20) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(ascii, names[:most])) + more


def counted(number: int, things: str, verb: str = "") -> str:
    """A number of things, whose name ends in s unless there is just one, and their verb: 18 recordings, 1 class has."""
    if number == 1:
        things = re.sub("(?<=ss)es$|s$", "", things, count=1)
        verb = {"": "", "are": "is", "have": "has", "cross": "crosses"}.get(verb, f"{verb}s")
    return f"{number:,} {things} {verb}".rstrip()


def seconds_text(seconds: float) -> str:
    """Seconds as a decimal number to the microsecond, without zeros at its end, however many they are."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
