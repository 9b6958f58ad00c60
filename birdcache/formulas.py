"""Cells of CSV files that no spreadsheet takes for a formula.

A text that a spreadsheet would compute is written behind an apostrophe, as OWASP advises; so is one that has such an
apostrophe already, which makes reading exact.

Source: https://owasp.org/www-community/attacks/CSV_Injection
"""

import re

PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - the wide ones too: some spreadsheets take them alike
MARK = "'"


def starts_formula(text: str) -> bool:
    """True if a spreadsheet may compute a cell of this text."""
    return text[:1] in STARTS and text != ""


def escaped(text: str) -> str:
    """The text as it stands in a CSV file."""
    return MARK + text if starts_formula(text.lstrip(MARK)) else text


def escaped_text(text: str) -> str:
    """As `escaped`, but a number stays as it is, such as -5."""
    return text if PLAIN_NUMBER.fullmatch(text) else escaped(text)


def unescaped(text: str) -> str:
    """The text that `escaped` has written so."""
    return text[1:] if text.startswith(MARK) and starts_formula(text.lstrip(MARK)) else text
