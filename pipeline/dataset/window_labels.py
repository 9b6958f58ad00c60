"""Tables of what is heard in windows of soundscapes, in the forms of every year's BirdCLEF.

- `row_id` (`<soundscape>_<second the window ends>`) beside `labels` or `birds`. Windows are as long as the largest step
  that all ends are multiples of, a lone one 5 s. In 2021, whose table has `audio_id`, a row_id leaves out the date that
  ends its file's name: `7019_COR_5` is of `7019_COR_20190904.ogg`.
- `filename`, `start` and `end` (HH:MM:SS or seconds) beside `primary_label`, as in 2026; rows of one window are joined.

Labels are separated by spaces or semicolons; none, or `nocall`, is silence.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import PurePosixPath

import pandas as pd

from birdcache.annotations.times import point, seconds
from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError
from birdcache.formulas import starts_formula
from birdcache.labels import LABEL_RULE, is_word_list
from birdcache.text import seconds_text
from birdcache.user_tables import Problem, read_user_table
from cache.tables import Col

NO_CALL = "nocall"
HEARD, TIMES = ("labels", "birds", "primary_label"), ("filename", "start", "end")
WINDOW_S, SHORTEST_S = 5.0, 0.5
FORMULA_RULE = "begins with = + - or @: spreadsheets would compute it, and row_ids must stay as they are; rename it"
_ROW_ID = re.compile(r"^(.+)_([0-9]{1,8}(?:\.[0-9]{1,6})?)$")


def read_windows(bounds: Bounds, name: str | None, soundscapes: Collection[str], key: str) -> pd.DataFrame:
    """Read a table below the root, None for no windows; `key` of params.yaml's section `data` names it.

    A PipelineError if there is no such table, it has none of the forms, or any row breaks a rule.

    Returns
    -------
    soundscape, start_s, end_s, labels (separated by spaces, each once), in order of soundscape and time; also windows
    of other `soundscapes` than there are, and behind their ends.
    """
    if name is None:
        return _joined(pd.DataFrame(columns=[Col.SOUNDSCAPE, Col.START_S, Col.END_S]), pd.Series(dtype=str))
    path = bounds.root / name
    if not path.exists():
        raise PipelineError(f"{path}: no such file; correct data.{key} in params.yaml, or set it to null")
    table = read_user_table(path, [], [Col.ROW_ID, "audio_id", *TIMES, *HEARD], bounds)
    cells, heard = table.cells, next((column for column in HEARD if column in table.cells), "")
    if not heard or not (Col.ROW_ID in cells or {*TIMES} <= {*cells}):
        forms = "row_id, or filename, start and end, and beside them labels, birds or primary_label"
        raise PipelineError(f"{path}: lacks columns; row 1 must name {forms}")
    windows, problems = (_by_row_id if Col.ROW_ID in cells else _by_times)(cells, soundscapes)
    labels = cells[heard].str.replace(";", " ", regex=False)
    rule = f"{heard} must be separated by spaces or semicolons, and {LABEL_RULE}; correct them"
    problems.append((~labels.map(is_word_list).astype(bool), rule))
    if key == "soundscape_truth":
        starts = windows.groupby([Col.SOUNDSCAPE, Col.END_S])[Col.START_S].transform("nunique")
        rule = "end is that of another window, too, and a row_id tells no more; keep one of them"
        problems.append((starts > 1, rule))
    table.refuse(problems)
    return _joined(windows, labels)


def heard_labels(windows: pd.DataFrame) -> set[str]:
    """The labels that are heard in windows."""
    return {label for labels in windows[Col.LABELS].unique() for label in labels.split()}


def exam_rows(windows: pd.DataFrame) -> pd.DataFrame:
    """Windows as rows of `cache.tables.SOUNDSCAPE_TRUTH`."""
    places = zip(windows[Col.SOUNDSCAPE], windows[Col.END_S], strict=True)
    row_ids = [f"{name}_{seconds_text(end_s)}" for name, end_s in places]
    return pd.DataFrame({Col.ROW_ID: row_ids, Col.LABELS: windows[Col.LABELS]}, dtype=str)


def _by_row_id(cells: pd.DataFrame, soundscapes: Collection[str]) -> tuple[pd.DataFrame, list[Problem]]:
    row_id, parts = cells[Col.ROW_ID], cells[Col.ROW_ID].str.extract(_ROW_ID)
    owner, end_s = parts[0].fillna(""), parts[1].astype(float)
    files = {name: [name] for name in soundscapes}
    for name in soundscapes if "audio_id" in cells else ():
        if (start := name.rpartition("_")[0]) not in soundscapes:
            files.setdefault(start, []).append(name)
    several = [name for name, of in files.items() if len(of) > 1]
    ends = {round(1000 * end) for end in end_s.dropna()}
    step_s = math.gcd(*ends) / 1000 if len(ends) > 1 else min([WINDOW_S, *end_s.dropna()])
    shortest = f"row_ids must end at multiples of a window of {SHORTEST_S:g} s or more; write filename, start and end"
    problems = [
        (~(end_s > 0), "row_id must be <soundscape>_<second the window ends>; correct it"),
        (row_id.duplicated(keep=False) & (row_id != ""), "row_id is used twice; keep one row each"),
        (row_id.map(starts_formula).astype(bool), f"row_id {FORMULA_RULE}"),
        (owner.isin(several), "row_id is of several soundscapes; rename them"),
        (pd.Series(step_s < SHORTEST_S, cells.index), shortest),
    ]
    called = owner.map(lambda name: files.get(name, [name])[0])
    return pd.DataFrame({Col.SOUNDSCAPE: called, Col.START_S: end_s - step_s, Col.END_S: end_s}), problems


def _by_times(cells: pd.DataFrame, soundscapes: Collection[str]) -> tuple[pd.DataFrame, list[Problem]]:
    def called(cell: str) -> str:
        path = PurePosixPath(cell)  # of one of several files of a name, whose soundscape is called by all of it
        whole = "_".join((path.parent / path.stem).parts)
        return next((name for name in (cell, whole) if name in soundscapes), path.stem)

    file = cells["filename"]
    start_s, end_s = (cells[name].map(point).map(seconds).astype(float).round(6) for name in ("start", "end"))
    problems = [
        (file == "", "filename is empty; name the soundscape"),
        (file.map(starts_formula).astype(bool), f"filename {FORMULA_RULE}"),
        (~(start_s >= 0), "start must be HH:MM:SS, or a number of seconds from 0; correct it"),
        (~(end_s > start_s) & (start_s >= 0), "end must be HH:MM:SS, or a number of seconds, above start; correct it"),
    ]
    return pd.DataFrame({Col.SOUNDSCAPE: file.map(called), Col.START_S: start_s, Col.END_S: end_s}), problems


def _joined(windows: pd.DataFrame, labels: pd.Series[str]) -> pd.DataFrame:
    """Each window once, with all labels that its rows name."""
    heard: dict[tuple[str, float, float], dict[str, None]] = defaultdict(dict)
    for window, cell in zip(windows.itertuples(index=False, name=None), labels, strict=True):
        heard[window].update(dict.fromkeys(label for label in cell.split() if label != NO_CALL))
    rows = [(*window, " ".join(heard[window])) for window in sorted(heard)]
    kinds = {Col.SOUNDSCAPE: str, Col.START_S: float, Col.END_S: float, Col.LABELS: str}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
