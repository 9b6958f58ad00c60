"""What annotations say of whole recordings, and what of them stages after this one read."""

from __future__ import annotations

import pandas as pd

from birdcache.errors import PipelineError
from birdcache.user_tables import row_ranges
from cache.tables import Kind

ANNOTATIONS: dict[str, Kind] = {"recording": "text", "start_s": "number", "end_s": "number", "label": "text"}
BEYOND_S = 0.1  # an annotation may end so much after its file: programs round


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
    once = annotations.drop_duplicates(list(ANNOTATIONS))
    seconds = once.assign(seconds=once["end_s"] - once["start_s"])
    totals = seconds.groupby(["recording", "path", "label"])["seconds"].sum().reset_index()
    ranked = totals.sort_values(["seconds", "label"], ascending=[False, True])
    heard = ranked.groupby(["recording", "path"])["label"].agg(list).reset_index(name="heard")
    own = pd.DataFrame({"label": heard["heard"].str[0], "secondary": heard["heard"].str[1:].map(sorted).str.join(" ")})
    own.index = pd.Index(heard["recording"])
    table = recordings.set_index("recording", drop=False)
    added = heard[~heard["recording"].isin(table.index)]
    table = pd.concat([table, unlabelled(added).set_index("recording", drop=False)])
    table.loc[own.index, ["label", "secondary"]] = own
    return table.reset_index(drop=True)


def unlabelled(files: pd.DataFrame) -> pd.DataFrame:
    """Rows of `pipeline.dataset.metadata.Metadata.recordings` for files (recording, path) of which nothing is known."""
    known = files[["recording", "path"]].reset_index(drop=True)
    number = pd.Series(float("nan"), index=known.index)
    return known.assign(
        label="",
        secondary="",
        author="",
        rating=number,
        latitude=number,
        longitude=number,
        date="",
        fold=pd.Series(pd.NA, index=known.index, dtype="Int64"),
    )


def annotations_table(annotations: pd.DataFrame, usable: pd.DataFrame) -> pd.DataFrame:
    """The annotations of usable recordings (columns `ANNOTATIONS`), in order of recording and time, each once.

    Raises
    ------
    PipelineError
        If some begin or end after their recording does: all of them, by table and row.
    """
    duration_s = annotations["recording"].map(usable.set_index("recording")["duration_s"])
    late = annotations[(annotations["end_s"] > duration_s + BEYOND_S) | (annotations["start_s"] >= duration_s)]
    if len(late):
        lines = [
            f"  {table}: row(s) {row_ranges(rows['row'])}: begins or ends behind the end of {recording} "
            f"({duration_s[rows.index[0]]:.2f} s); correct the time or the file"
            for (table, recording), rows in late.groupby(["table", "recording"])
        ]
        raise PipelineError("\n".join([f"{len(late)} annotation(s) lie behind the end of their recordings", *lines]))
    chosen = annotations[duration_s.notna()]
    chosen = chosen.assign(end_s=chosen["end_s"].clip(upper=duration_s[chosen.index]))
    table = chosen[list(ANNOTATIONS)].sort_values(list(ANNOTATIONS)).drop_duplicates()
    return table.reset_index(drop=True)
