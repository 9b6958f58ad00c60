"""Layout `birdclef`: train.csv beside the audio folder, as in BirdCLEF 2021 to 2026.

Only primary_label and filename are needed; secondary_labels, author, rating, latitude, longitude, date and
fold are used where a year has them.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from birdcache.audio.paths import LINKS_HINT, Bounds
from birdcache.errors import PipelineError
from birdcache.files import is_inner_path
from birdcache.labels import LABEL_RULE, is_label, parse_secondary
from birdcache.storage import AnyPath
from birdcache.unknown import is_unknown
from birdcache.user_tables import Problem, colliding, read_user_table
from cache.tables import NAMES, Col
from pipeline.dataset.dates import read_dates
from pipeline.dataset.recordists import recordists

AUDIO_FOLDERS = ("train_audio", "train_short_audio")  # the second in 2021
BEST_RATING = 5.0
FARTHEST = {"latitude": 90.0, "longitude": 180.0}  # degrees
_COLUMNS = ("secondary_labels", "author", "rating", "latitude", "longitude", "date", "fold")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[+-]?(inf|infinity)", re.IGNORECASE)
_FOLD = r"([0-9]{1,4}(\.0+)?)?"


def read_birdclef(root: AnyPath, bounds: Bounds, warn: Callable[[str], None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read train.csv.

    Parameters
    ----------
    warn : called for what is read, but not as it stands, with counts and an example.

    Returns
    -------
    The recordings (columns as in `pipeline.dataset.metadata.Metadata.recordings`, in the file's order), and what the
    table says of names: one row per label, of those columns of a taxonomy that it has.

    Raises
    ------
    PipelineError
        If train.csv or the audio folder is missing, or any row breaks a rule.
    """
    path, audio = root / "train.csv", audio_folder(bounds)
    read = read_user_table(path, ["primary_label", "filename"], [*_COLUMNS, *NAMES], bounds)
    table = read.cells.reindex(columns=list(dict.fromkeys([*read.cells.columns, *_COLUMNS])), fill_value="")
    for column in _COLUMNS:
        table[column] = _known(table[column])
    files_of = functools.cache(lambda label: _names(audio / label, bounds))  # one listing a label, not a request a file
    remote = not isinstance(root, Path)
    table[Col.RECORDING] = [
        _recording(files_of, *cells, remote) for cells in zip(table["primary_label"], table["filename"], strict=True)
    ]
    problems = [*_problems(table), *_file_problems(table[Col.RECORDING], audio, bounds)]
    rule = "filename differs in case or Unicode form only from that of a file; write it as the file is called"
    read.refuse([*problems, (_other_names(table[Col.RECORDING], files_of, audio), rule)])
    recordings = _recordings(table, audio, lambda text: warn(f"{path}: {text}"))
    return recordings, table.drop_duplicates("primary_label").set_index("primary_label")


def audio_folder(bounds: Bounds) -> AnyPath:
    """The folder of the recordings.

    Raises
    ------
    PipelineError
        If there is none, or it lies elsewhere.
    """
    root = bounds.root
    audio = next((root / name for name in AUDIO_FOLDERS if (root / name).is_dir()), None)
    if audio is None:
        raise PipelineError(
            f"{root / AUDIO_FOLDERS[0]}: no such folder; correct data.root or data.layout in params.yaml"
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
    name = PurePosixPath(filename)
    in_label_folder = len(name.parts) == 1 and is_label(label) and name.name in files_of(label)
    return f"{label}/{name}" if in_label_folder else str(name)


def _problems(table: pd.DataFrame) -> Iterator[Problem]:
    """Yield the rows that break each rule, with the rule and a hint."""
    label, recording, rating = table["primary_label"], table[Col.RECORDING], table["rating"]
    secondary_ok = table["secondary_labels"].map(lambda text: parse_secondary(text) is not None).astype(bool)
    yield label == "", "primary_label is empty; name the species"
    yield ~label.map(is_label).astype(bool) & (label != ""), f"primary_label is no label; {LABEL_RULE}; rename it"
    yield colliding(label), "primary_label differs from another one in case only; write both alike, or rename one"
    yield recording == "", "filename must be a path inside the audio folder, written with /, without ..; correct it"
    yield recording.duplicated(keep=False) & (recording != ""), "filename is listed twice; keep one row per recording"
    yield ~secondary_ok, f"secondary_labels must look like ['a', 'b'], without spaces inside a label, and {LABEL_RULE}"
    bad_rating = ~rating.map(_number).between(0, BEST_RATING) & (rating != "")
    yield bad_rating, f"rating must be a number from 0 to {BEST_RATING:g}; correct it or leave it empty"
    for name, most in FARTHEST.items():
        bad = ~table[name].map(functools.partial(_is_coordinate, most=most)).astype(bool)
        yield bad, f"{name} must be a number from -{most:g} to {most:g}; correct it or leave it empty"
    bad_fold = ~table["fold"].str.fullmatch(_FOLD).astype(bool)
    yield bad_fold, "fold must be a whole number from 0 to 9999; correct it or leave it empty"


def _file_problems(recording: pd.Series[str], audio: AnyPath, bounds: Bounds) -> Iterator[Problem]:
    """Rows whose file must not be opened. Missing files and those that are no audio are reported by the scan."""
    plain_files = functools.cache(lambda folder: bounds.plain_files(audio / folder))

    def why_not(name: str) -> str:
        folder, _, file = name.rpartition("/")
        return "" if not name or file in plain_files(folder) else bounds.why_not(audio / name)

    why = recording.map(why_not)
    for reason in sorted(set(why) - {""}):
        hint = LINKS_HINT if "link" in reason else "name a file"
        yield why == reason, f"filename {reason}; {hint}"


def _known(cells: pd.Series[str]) -> pd.Series[str]:
    """The cells of an optional column, "" in place of words for what is not known, such as `nan`."""
    return cells.map({text: "" if is_unknown(text) else text for text in cells.unique()})


def _recordings(table: pd.DataFrame, audio: AnyPath, warn: Callable[[str], None]) -> pd.DataFrame:
    latitude, longitude = (table[name].map(_number).astype(float) for name in FARTHEST)
    nowhere = (latitude == 0) & (longitude == 0)
    if nowhere.any():
        first = table.loc[nowhere, Col.RECORDING].iloc[0]
        warn(f"{nowhere.sum()} recording(s) at 0, 0 count as recorded at an unknown place, first {first}")
    secondary = [" ".join(parse_secondary(text) or ()) for text in table["secondary_labels"]]
    return pd.DataFrame(
        {
            Col.RECORDING: table[Col.RECORDING],
            Col.PATH: [(audio / recording).as_posix() for recording in table[Col.RECORDING]],
            Col.LABEL: table["primary_label"],
            Col.SECONDARY: secondary,
            Col.AUTHOR: recordists(table["author"], warn),
            Col.RATING: table["rating"].map(_number).astype(float),
            Col.LATITUDE: latitude.mask(nowhere),
            Col.LONGITUDE: longitude.mask(nowhere),
            Col.DATE: read_dates(table["date"], warn),
            Col.FOLD: table["fold"].map(_number).astype("Int64"),
        }
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
