"""Layout `birdclef`: a table beside the audio folder, as in BirdCLEF 2021 to 2026, or called otherwise.

Only primary_label and filename are needed; secondary_labels, author, rating, latitude, longitude, date and
fold are used where a year has them.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from birdcache.audio.paths import LINKS_HINT, Bounds
from birdcache.errors import PipelineError
from birdcache.files import PLAIN_PATH, is_inner_path
from birdcache.labels import LABEL_RULE, is_label, parse_secondary
from birdcache.params.sections import DataParams, SourceParams
from birdcache.storage import AnyPath
from birdcache.unknown import is_unknown
from birdcache.user_tables import Problem, colliding, mapped
from cache.tables import NAMES, Col
from pipeline.dataset.columns import read_recording_table
from pipeline.dataset.dates import read_dates
from pipeline.dataset.recordists import recordists

TABLES = ("train.csv", "train_metadata.csv")  # the second from 2021 to 2024
UNLISTED = "no row of the table of recordings that is used names them"
AUDIO_FOLDERS = ("train_audio", "train_short_audio")  # the second in 2021
BEST_RATING = 5.0
FARTHEST = {"latitude": 90.0, "longitude": 180.0}  # degrees
_COLUMNS = ("secondary_labels", "author", "rating", "latitude", "longitude", "date", "fold")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[+-]?(inf|infinity)", re.IGNORECASE)
TableParams = DataParams | SourceParams
_FOLD = re.compile(r"([0-9]{1,4}(\.0+)?)?")


def read_birdclef(bounds: Bounds, data: TableParams, warn: Callable[[str], None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the table of recordings.

    A PipelineError if the table or the audio folder is missing, there are two tables, or any row breaks a rule.

    Parameters
    ----------
    warn : called for what is read, but not as it stands, with counts and an example.

    Returns
    -------
    The recordings (columns as in `pipeline.dataset.metadata.Metadata.recordings`, in the file's order), and what the
    table says of names: one row per label, of those columns of a taxonomy that it has.
    """
    path, audio = table_path(bounds.root, data.table), audio_folder(bounds, data)
    read = read_recording_table(path, data.columns, bounds, lambda text: warn(f"{path}: {text}"))
    table = read.cells.reindex(columns=list(dict.fromkeys([*read.cells.columns, *_COLUMNS])), fill_value="")
    for column in _COLUMNS:
        table[column] = mapped(table[column], lambda text: "" if is_unknown(text) else text).astype(str)
    files_of = functools.cache(lambda label: _names(audio / label, bounds))  # one listing a label, not a request a file
    remote = not isinstance(bounds.root, Path)
    rows = zip(table["primary_label"].tolist(), table["filename"].tolist(), strict=True)
    listed = [_recording(files_of, *cells, remote) for cells in rows]
    table[Col.RECORDING] = pd.Series(listed, index=table.index, dtype=str)
    problems = [*_problems(table), *_file_problems(table[Col.RECORDING], audio, bounds)]
    rule = "filename differs in case or Unicode form only from that of a file; write it as the file is called"
    read.refuse([*problems, (_other_names(table[Col.RECORDING], files_of, audio), rule)])
    del read  # the cells of millions of rows go as they are used up
    names = table.drop_duplicates("primary_label").set_index("primary_label")
    table = table.drop(columns=[name for name in NAMES if name in table])
    return _recordings(table, audio, lambda text: warn(f"{path}: {text}")), names


def table_path(root: AnyPath, name: str | None) -> AnyPath:
    """The table of recordings: the one that is named, else that of BirdCLEF, of which there must not be two."""
    there = [root / each for each in TABLES if name is None and (root / each).is_file()]
    if len(there) > 1:
        raise PipelineError(f"{there[0]}: lies beside {TABLES[1]}; name the one to read in data.table, or remove one")
    return there[0] if there else root / (name or TABLES[0])


def audio_folder(bounds: Bounds, data: TableParams) -> AnyPath:
    """The folder of the recordings; the root itself may be that of other tables than BirdCLEF's.

    A PipelineError if there is none, or it lies elsewhere.
    """
    root = bounds.root
    audio = next((root / name for name in AUDIO_FOLDERS if (root / name).is_dir()), root)
    if audio == root and not (data.table or data.columns):
        raise PipelineError(
            f"{root / AUDIO_FOLDERS[0]}: no such folder; correct data.root or data.layout, or the source"
        )
    if outside := bounds.why_outside(audio):
        raise PipelineError(f"{audio}: {outside}; {LINKS_HINT}")
    return audio


def _other_names(recording: pd.Series[str], files_of: Callable[[str], set[str]], audio: AnyPath) -> pd.Series[bool]:
    """The rows by which a disk that does not tell names alike apart opens a file that is called otherwise."""

    def is_other(name: str) -> bool:
        folder, _, file = name.rpartition("/")
        return file not in files_of(folder) and (audio / name).exists()

    alike = recording[colliding(recording)]
    return recording.isin(alike[alike.map(is_other).astype(bool)])


def _names(folder: AnyPath, bounds: Bounds) -> set[str]:
    return {file.name for file in folder.iterdir()} if folder.is_dir() and not bounds.why_outside(folder) else set()


def _recording(files_of: Callable[[str], set[str]], label: str, filename: str, remote: bool) -> str:
    """The path inside the audio folder, "" if it is none; a bare name (2021) may lie in its label's folder."""
    if not is_inner_path(filename, remote):
        return ""
    if "/" in filename and PLAIN_PATH.fullmatch(filename):
        return filename
    name = PurePosixPath(filename)
    in_label_folder = len(name.parts) == 1 and is_label(label) and name.name in files_of(label)
    return f"{label}/{name}" if in_label_folder else str(name)


def _problems(table: pd.DataFrame) -> Iterator[Problem]:
    """Yield the rows that break each rule, with the rule and a hint."""
    label, recording, rating = table["primary_label"], table[Col.RECORDING], table["rating"]
    secondary_ok = mapped(table["secondary_labels"], lambda text: parse_secondary(text) is not None).astype(bool)
    yield label == "", "primary_label is empty; name the species"
    yield ~mapped(label, is_label).astype(bool) & (label != ""), f"primary_label is no label; {LABEL_RULE}; rename it"
    yield colliding(label), "primary_label differs from another one in case only; write both alike, or rename one"
    yield recording == "", "filename must be a path inside the audio folder, written with /, without ..; correct it"
    yield recording.duplicated(keep=False) & (recording != ""), "filename is listed twice; keep one row per recording"
    yield ~secondary_ok, f"secondary_labels must look like ['a', 'b'], without spaces inside a label, and {LABEL_RULE}"
    bad_rating = ~mapped(rating, _number).between(0, BEST_RATING) & (rating != "")
    yield bad_rating, f"rating must be a number from 0 to {BEST_RATING:g}; correct it or leave it empty"
    for name, most in FARTHEST.items():
        bad = ~mapped(table[name], functools.partial(_is_coordinate, most=most)).astype(bool)
        yield bad, f"{name} must be a number from -{most:g} to {most:g}; correct it or leave it empty"
    bad_fold = ~mapped(table["fold"], lambda text: bool(_FOLD.fullmatch(text))).astype(bool)
    yield bad_fold, "fold must be a whole number from 0 to 9999; correct it or leave it empty"


def _file_problems(recording: pd.Series[str], audio: AnyPath, bounds: Bounds) -> Iterator[Problem]:
    """Rows whose file must not be opened. Missing files and those that are no audio are reported by the scan."""
    local = str(audio) if isinstance(audio, Path) else ""
    is_there = functools.cache(os.path.lexists)
    plain_files = functools.cache(lambda folder: bounds.plain_files(audio / folder))

    def why_not(name: str) -> str:
        folder, _, file = name.rpartition("/")
        if not name or file in plain_files(folder):
            return ""
        if local and not (is_there(f"{local}/{folder}") and os.path.lexists(f"{local}/{name}")):
            return ""
        return bounds.why_not(audio / name)

    why = pd.Series(list(map(why_not, recording.tolist())), index=recording.index, dtype=str)
    for reason in sorted(set(why) - {""}):
        hint = LINKS_HINT if "link" in reason else "name a file"
        yield why == reason, f"filename {reason}; {hint}"


def _recordings(table: pd.DataFrame, audio: AnyPath, warn: Callable[[str], None]) -> pd.DataFrame:
    recording, below = table.pop(Col.RECORDING), (audio / "x").as_posix().removesuffix("x")
    latitude, longitude = (mapped(table.pop(name), _number).astype(float) for name in FARTHEST)
    nowhere = (latitude == 0) & (longitude == 0)
    if nowhere.any():
        first = recording[nowhere].iloc[0]
        warn(f"recordings at 0, 0, which counts as an unknown place: {nowhere.sum()}, first {first}")
    secondary = mapped(table.pop("secondary_labels"), lambda text: " ".join(parse_secondary(text) or ()))
    return pd.DataFrame(
        {
            Col.RECORDING: recording,
            Col.PATH: below + recording,
            Col.LABEL: table.pop("primary_label"),
            Col.SECONDARY: secondary.astype(str),
            Col.AUTHOR: recordists(table.pop("author"), warn),
            Col.RATING: mapped(table.pop("rating"), _number).astype(float),
            Col.LATITUDE: latitude.mask(nowhere),
            Col.LONGITUDE: longitude.mask(nowhere),
            Col.DATE: read_dates(table.pop("date"), warn),
            Col.FOLD: mapped(table.pop("fold"), _number).astype("Int64"),
        },
        copy=False,
    ).reset_index(drop=True)


def _number(text: str) -> float:
    """The number, or NaN for what is none, such as `Not specified` for a latitude."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan


def _is_coordinate(text: str, most: float) -> bool:
    """True for a number of degrees, and for words in its place (`Not specified`)."""
    if _NUMBER.fullmatch(text):
        return abs(float(text)) <= most
    return text == "" or (any(map(str.isalpha, text)) and _NO_NUMBER.fullmatch(text) is None)
