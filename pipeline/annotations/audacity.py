"""Audacity's label tracks as text: begin, end and label between tabs, and perhaps a second line with the band.

Source: Audacity's manual, Importing and Exporting Labels: seconds with six decimals; a line that begins with a
backslash holds the lower and upper frequency in hertz of the label above it, -1 where there is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.annotations.annotation import Annotation, one_line
from pipeline.errors import PipelineError
from pipeline.rows import write_text

LONGEST_BEGIN = 1000  # characters of a first line that are looked at
SCORED = re.compile(r"(.*) ([01]\.\d\d)")  # a label with a score behind it, as written here


def write_audacity(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write a label track, in the order of the annotations; a score stands behind its label, to two digits."""
    write_text(path, "".join(lines_of(each) for each in annotations))


def lines_of(annotation: Annotation) -> str:
    """The line of a label, and that of its band if it has one."""
    label = one_line(annotation.label) + ("" if annotation.score is None else f" {annotation.score:.2f}")
    line = f"{annotation.begin_s:.6f}\t{annotation.end_s:.6f}\t{label}\n"
    if annotation.low_hz is None or annotation.high_hz is None:
        return line
    return line + f"\\\t{annotation.low_hz:.6f}\t{annotation.high_hz:.6f}\n"


def is_audacity(path: Path) -> bool:
    """Whether the first line begins with a number, as that of a label track does, and not with a header."""
    with suppress(OSError, ValueError), path.open(encoding="utf-8-sig") as file:
        return math.isfinite(float(file.readline(LONGEST_BEGIN).split("\t")[0]))
    return False


def read_audacity(path: Path) -> list[Annotation]:
    """Read a label track, in its order.

    Raises
    ------
    PipelineError
        If a line is none of a label track, or a label ends before it begins.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: cannot be read as text in UTF-8 ({error}); export it from Audacity") from error
    found: list[Annotation] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if cells[0] == "\\" and found:
            low_hz, high_hz = _numbers(path, number, cells[1:3])
            band = (low_hz, high_hz) if low_hz >= 0 <= high_hz else (None, None)
            found[-1] = replace(found[-1], low_hz=band[0], high_hz=band[1])
        elif line.strip():
            found.append(_label(path, number, cells))
    return found


def _label(path: Path, number: int, cells: list[str]) -> Annotation:
    begin_s, end_s = _numbers(path, number, cells[:2])
    if not 0 <= begin_s <= end_s:
        raise PipelineError(f"{path}: line {number}: must begin at 0 s or later and not end before; correct it")
    label = " ".join(cells[2:]).strip()
    if scored := SCORED.fullmatch(label):
        return Annotation(begin_s, end_s, scored[1], score=float(scored[2]))
    return Annotation(begin_s, end_s, label)


def _numbers(path: Path, number: int, cells: list[str]) -> tuple[float, float]:
    try:
        first, second = (float(cell) for cell in cells)
        if math.isfinite(first) and math.isfinite(second):
            return first, second
    except ValueError:
        pass
    raise PipelineError(
        f"{path}: line {number}: must be two numbers and a label between tabs; export the labels from Audacity again"
    )
