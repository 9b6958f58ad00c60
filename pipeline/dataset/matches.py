"""Names by which the tables and files of a data set call each other: some that nothing answers to are told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from birdcache.audio.listing import list_audio
from birdcache.audio.paths import Bounds
from birdcache.joins import join_warnings
from birdcache.predict.submission import SAMPLE, SCORED, TARGET, SubmissionForm
from birdcache.storage import AnyPath
from cache.tables import Col
from pipeline.dataset.window_labels import NO_CALL, exam_rows, heard_labels

TAUGHT = "labels of a recording"
WINDOW_HINT = (
    "a row_id is <soundscape>_<second the window ends>, the soundscape named like its file without extension; correct "
    "the table, or set data.{}: null"
)


def label_warnings(
    recordings: pd.DataFrame, taught: set[str], taxonomy: pd.DataFrame | None, submission: SubmissionForm
) -> list[str]:
    """Labels that only one of the tables knows.

    A PipelineError if the taxonomy, or the submission, knows none of the labels that are taught.

    Parameters
    ----------
    recordings, submission : as in `pipeline.dataset.metadata.Metadata`.
    taught : the labels of recordings and annotations.
    taxonomy : taxonomy.csv or eBird's, None without one.
    """
    own = sorted(taught - {NO_CALL})
    secondary = {word for text in recordings[Col.SECONDARY].unique() for word in text.split()}
    lost, hint = sorted(secondary - taught), "they are left out; correct them, or add recordings of them"
    told = f"{len(lost)} of {len(secondary)} secondary labels are not {TAUGHT}"
    warnings = [f"{told}, first {lost[0]!r}; {hint}"] if lost else []  # no error, be it all of them
    if taxonomy is not None:
        found, hint = [label in taxonomy.index for label in own], "add them, or correct the labels of its table"
        warnings += join_warnings("labels of recordings", own, found, set(taxonomy.index), "in the taxonomy", hint)
    if submission.labels:
        wanted, hint = set(submission.labels), "they are learnt, but not submitted; correct the file, or remove it"
        found, file = [label in wanted for label in own], SCORED if submission.column == TARGET else SAMPLE
        warnings += join_warnings("labels of recordings", own, found, wanted, f"in {file}", hint)
        found, hint = [label in taught for label in submission.labels], "they score 0; add recordings of them"
        warnings += join_warnings(f"labels of {file}", submission.labels, found, taught, TAUGHT, hint)
    return warnings


def window_warnings(
    windows: pd.DataFrame, soundscapes: Collection[str], taught: set[str], path: AnyPath, key: str
) -> list[str]:
    """Windows of the table at `path`, which `key` names, that are of no soundscape, and labels that are not taught.

    A PipelineError if no window is of a soundscape, or no label is one of those that are taught.
    """
    if windows.empty:
        return [f"{path}: holds no row, so that nothing is known of soundscapes"]
    asked, found = list(exam_rows(windows)[Col.ROW_ID]), list(windows[Col.SOUNDSCAPE].isin(set(soundscapes)))
    hint = WINDOW_HINT.format(key)
    warnings = join_warnings(f"windows of {path}", asked, found, soundscapes, "of a soundscape", hint)
    words, hint = sorted(heard_labels(windows)), "they are never learnt, so not measured; add recordings of them"
    known = [word in taught for word in words]
    return warnings + join_warnings(f"labels of {path}", words, known, taught, TAUGHT, hint)


def unlisted_warnings(
    folder: AnyPath, bounds: Bounds, used: Iterable[str], without: Sequence[AnyPath], why: str
) -> list[str]:
    """Files in a folder that are or may be recordings, and that no table tells of; a bucket is not searched for them.

    Parameters
    ----------
    used, without : paths that are used, and folders whose files are something else.
    """
    if not isinstance(folder, Path):
        return []
    files = list_audio(folder, bounds, without)
    found = {*(path.as_posix() for path in files.used), *(each.file for each in files.left_out)}
    found.difference_update(used)
    return [f"audio files not used in {folder}: {len(found)}, first {min(found)}: {why}"] if found else []
