"""Annotations: the labels of whole recordings that follow from them, and the table of annotated times."""

from collections.abc import Callable

import pandas as pd

from birdcache.annotations.read import ROUNDED_S
from birdcache.errors import PipelineError
from birdcache.text import counted
from birdcache.user_tables import row_ranges
from cache.tables import ANNOTATIONS, Col

TIMES = list(ANNOTATIONS.columns)
LONGEST_WINDOW_S = 15.0  # of a model: the last window may reach so far beyond the end of its file


def annotated(recordings: pd.DataFrame, annotations: pd.DataFrame) -> pd.DataFrame:
    """Recordings with labels by their annotations, where they have any.

    The label with the most annotated seconds becomes the primary one (the first by name if there are several), the
    others become secondary ones; nothing is left of the labels that such a recording had before. Files that were not
    listed are added, with nothing known but that. The same row in two tables counts once.

    Parameters
    ----------
    recordings : as in `pipeline.dataset.metadata.Metadata`.
    annotations : with columns recording, path, start_s, end_s and label.
    """
    if annotations.empty:
        return recordings
    once = annotations.drop_duplicates(TIMES)
    seconds = once.assign(seconds=once[Col.END_S] - once[Col.START_S])
    totals = seconds.groupby([Col.RECORDING, Col.PATH, Col.LABEL])["seconds"].sum().reset_index()
    ranked = totals.sort_values(["seconds", Col.LABEL], ascending=[False, True])
    heard = ranked.groupby([Col.RECORDING, Col.PATH])[Col.LABEL].agg(list).reset_index(name="heard")
    each = heard.set_index(Col.RECORDING)["heard"].str
    own = pd.DataFrame({Col.LABEL: each[0], Col.SECONDARY: each[1:].map(sorted).str.join(" ")})
    table = recordings.set_index(Col.RECORDING, drop=False)
    added = heard[~heard[Col.RECORDING].isin(table.index)]
    table = pd.concat([table, unlabelled(added).set_index(Col.RECORDING, drop=False)])
    table.loc[own.index, [Col.LABEL, Col.SECONDARY]] = own
    return table.reset_index(drop=True)


def unlabelled(files: pd.DataFrame) -> pd.DataFrame:
    """Rows of `pipeline.dataset.metadata.Metadata.recordings` for files (recording, path) of which nothing is known."""
    known = files[[Col.RECORDING, Col.PATH]].reset_index(drop=True)
    texts = dict.fromkeys((Col.LABEL, Col.SECONDARY, Col.AUTHOR, Col.DATE), "")
    numbers = dict.fromkeys((Col.RATING, Col.LATITUDE, Col.LONGITUDE), float("nan"))
    return known.assign(**texts, **numbers, fold=pd.Series(pd.NA, index=known.index, dtype="Int64"))


def annotations_table(annotations: pd.DataFrame, usable: pd.DataFrame, warn: Callable[[str], None]) -> pd.DataFrame:
    """The annotations of usable recordings, each once and in order: rows of `cache.tables.ANNOTATIONS`.

    Times that begin in their recording and end behind it are cut at its end; those of more than rounding are told.

    A PipelineError if some begin after the end of their recording, or end further behind it than a model's window
    reaches: all of them, by table and row.
    """
    duration_s = annotations[Col.RECORDING].map(usable.set_index(Col.RECORDING)[Col.DURATION_S]).astype(float)
    beyond_s = annotations[Col.END_S] - duration_s
    late = annotations[(beyond_s > LONGEST_WINDOW_S) | (annotations[Col.START_S] >= duration_s)]
    if len(late):
        lines = [
            f"  {table}: {row_ranges(rows['row'])}: begins or ends behind the end of {recording} "
            f"({duration_s[rows.index[0]]:.2f} s); correct the time or the file"
            for (table, recording), rows in late.groupby(["table", Col.RECORDING])
        ]
        raise PipelineError("\n".join([f"{counted(len(late), 'annotations', 'lie')} behind a recording's end", *lines]))
    cut = annotations[beyond_s > ROUNDED_S]
    if len(cut):
        table, row, recording, end_s = cut[["table", "row", Col.RECORDING, Col.END_S]].iloc[0]
        first = f"{table}: row {row}, which ends at {end_s:g} s in {recording} ({duration_s[cut.index[0]]:.2f} s)"
        warn(f"{counted(len(cut), 'annotations', 'are')} cut at a recording's end, first {first}")
    chosen = annotations[duration_s.notna()]
    chosen = chosen.assign(end_s=chosen[Col.END_S].clip(upper=duration_s[chosen.index]))
    return chosen[TIMES].sort_values(TIMES).drop_duplicates(ignore_index=True)
