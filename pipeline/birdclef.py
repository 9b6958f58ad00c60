"""Layout `birdclef`: train.csv beside the audio folder, as in BirdCLEF 2021 to 2026.

Only primary_label and filename are needed; secondary_labels, author, rating, latitude, longitude, date and
fold are used where a year has them.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath, PureWindowsPath

import pandas as pd

from cache.places import Place
from pipeline.errors import PipelineError
from pipeline.labels import LABEL_RULE, is_label, parse_secondary
from pipeline.tables import read_text_table, refuse_rows

AUDIO_FOLDERS = ("train_audio", "train_short_audio")  # the second in 2021
BEST_RATING = 5.0
_COLUMNS = ("secondary_labels", "author", "rating", "latitude", "longitude", "date", "fold")


def read_birdclef(root: Place) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read train.csv.

    Returns
    -------
    The recordings (columns as in `pipeline.metadata.Metadata.recordings`, in the file's order), and what the
    table says of names: one row per label, of those columns of a taxonomy that it has.

    Raises
    ------
    PipelineError
        If train.csv or the audio folder is missing, or any row breaks a rule.
    """
    path = root / "train.csv"
    audio = next((root / name for name in AUDIO_FOLDERS if (root / name).is_dir()), None)
    if audio is None:
        raise PipelineError(
            f"{root / AUDIO_FOLDERS[0]}: no such folder; correct data.root or data.layout in params.yaml"
        )
    table = read_text_table(path, ["primary_label", "filename"])
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *_COLUMNS])), fill_value="")
    files_of = functools.cache(lambda label: _names(audio / label))  # one listing a label, not a request a file
    table["recording"] = [
        _recording(files_of, *cells) for cells in zip(table["primary_label"], table["filename"], strict=True)
    ]
    refuse_rows(path, _problems(table))
    return _recordings(table, audio), table.drop_duplicates("primary_label").set_index("primary_label")


def _names(folder: Place) -> set[str]:
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


def _recording(files_of: Callable[[str], set[str]], label: str, filename: str) -> str:
    """The path inside the audio folder, "" if it is none; a bare name (2021) may lie in its label's folder."""
    name = PurePosixPath(filename)
    windows = PureWindowsPath(filename)
    if not name.parts or ".." in name.parts or name.is_absolute() or windows.drive or not filename.isprintable():
        return ""
    if "\\" in filename:
        return ""
    in_label_folder = len(name.parts) == 1 and is_label(label) and name.name in files_of(label)
    return f"{label}/{name}" if in_label_folder else str(name)


def _problems(table: pd.DataFrame) -> Iterator[tuple[pd.Series[bool], str]]:
    """Yield the rows that break each rule, and the rule with its way out."""
    label, recording, rating = table["primary_label"], table["recording"], table["rating"]
    secondary_ok = table["secondary_labels"].map(lambda text: parse_secondary(text) is not None).astype(bool)
    yield label == "", "primary_label is empty; name the species"
    yield ~label.map(is_label).astype(bool) & (label != ""), f"primary_label is no label; {LABEL_RULE}; rename it"
    yield recording == "", "filename must be a path inside the audio folder, written with /, without ..; correct it"
    yield recording.duplicated(keep=False) & (recording != ""), "filename is listed twice; keep one row per recording"
    yield ~secondary_ok, f"secondary_labels must look like ['a', 'b'], without spaces inside a label, and {LABEL_RULE}"
    bad_rating = ~rating.map(_number).between(0, BEST_RATING) & (rating != "")
    yield bad_rating, f"rating must be a number from 0 to {BEST_RATING:g}; correct it or leave it empty"
    bad_fold = ~table["fold"].str.fullmatch(r"(\d+(\.0+)?)?").astype(bool)
    yield bad_fold, "fold must be a whole number from 0; correct it or leave it empty"


def _recordings(table: pd.DataFrame, audio: Place) -> pd.DataFrame:
    secondary = [" ".join(parse_secondary(text) or ()) for text in table["secondary_labels"]]
    return pd.DataFrame(
        {
            "recording": table["recording"],
            "path": [(audio / recording).as_posix() for recording in table["recording"]],
            "label": table["primary_label"],
            "secondary": secondary,
            "author": table["author"],
            "rating": table["rating"].map(_number).astype(float),
            "latitude": table["latitude"].map(_number).astype(float),
            "longitude": table["longitude"].map(_number).astype(float),
            "date": table["date"].map(_iso_date),
            "fold": table["fold"].map(_number).astype("Int64"),
        }
    ).reset_index(drop=True)


def _number(text: str) -> float:
    """The number, or NaN for what is none, such as `Not specified` for a latitude."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _iso_date(text: str) -> str:
    """The day as YYYY-MM-DD, or "" if it is not known to the day, such as 2014-05-00."""
    try:
        return datetime.date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return ""
