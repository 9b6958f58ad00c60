"""Metadata of a data set: recordings and labels, taxonomy, soundscapes and their truth.

Three layouts: `birdclef` (train.csv beside train_audio/, read in `pipeline.dataset.birdclef`), `folders`
(<root>/<label>/*.ogg), and `annotations` (audio files that only annotations tell of). Nothing here opens an audio file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from birdcache.annotations.label_names import LabelNames
from birdcache.annotations.match import matched
from birdcache.annotations.read import read_annotations
from birdcache.audio.paths import LINKS_HINT, Bounds, folded
from birdcache.audio.suffixes import is_recording
from birdcache.errors import PipelineError
from birdcache.formulas import starts_formula
from birdcache.labels import LABEL_RULE, is_label, is_word_list
from birdcache.params.sections import DataParams
from birdcache.storage import AnyPath, place, reaching
from birdcache.user_tables import Problem, colliding, read_header, read_user_table
from cache.tables import NAMES, Col
from pipeline.dataset.annotated import annotated, unlabelled
from pipeline.dataset.birdclef import audio_folder, read_birdclef
from pipeline.dataset.matches import NO_CALL, label_warnings, truth_warnings, unlisted_warnings
from pipeline.dataset.notes import Noted

TAXONOMY, TAXONOMY_FILE = list(NAMES), "taxonomy.csv"
TOLD = 20  # names of files in an error; the others are counted
FORMULA_RULE = "begins with = + - or @: spreadsheets would compute it, and row_ids must stay as they are; rename it"


@dataclass(frozen=True)
class Metadata:
    """A data set as its files list it; audio may still turn out missing or broken.

    Attributes
    ----------
    recordings
        One row per listed recording, sorted by `recording` (its path inside the audio folder): recording, path
        (or URL, as openable from the project's root), label, secondary (space-separated), author, rating, latitude,
        longitude, date (ISO or ""), fold (ready fold or NA).
    annotations
        recording, path, start_s, end_s, label, table, row: what is heard when, in recordings where somebody wrote that
        down; their label and secondary follow from it.
    taxonomy
        scientific_name, common_name, class_name, indexed by label; a label may be missing.
    submission
        The labels of the submission in their order, or None if the data set does not say.
    soundscapes
        Long recordings, sorted by name; no two have the same name without extension.
    truth
        row_id, labels (space-separated, "" for silence); no rows if there is no truth.
    warnings
        What was read, but not as it stands, or matches nothing, with counts and an example each.
    notes
        What is odd about files that are used all the same.
    """

    recordings: pd.DataFrame
    annotations: pd.DataFrame
    taxonomy: pd.DataFrame
    submission: tuple[str, ...] | None
    soundscapes: tuple[AnyPath, ...]
    truth: pd.DataFrame
    warnings: tuple[str, ...]
    notes: tuple[Noted, ...] = ()


def read_metadata(data: DataParams) -> Metadata:
    """Read all of a data set but its audio.

    Raises
    ------
    PipelineError
        If a file or folder is missing or a row breaks a rule; all bad rows of a file are listed at once.
    StoreError
        If data.root is a URL that cannot be opened or reached.
    """
    root = place(data.root)
    with reaching(root):
        is_there = root.is_dir()
    if not is_there:
        raise PipelineError(
            f"{root}: no such folder; correct data.root in params.yaml (`dvc repro` makes the demo data)"
        )
    bounds = Bounds(root, data.links)
    warnings: list[str] = []
    recordings, own_names = _read_recordings(data, bounds, warnings.append)
    taxonomy = read_taxonomy(bounds, own_names)
    annotations = _read_annotations(data, bounds, recordings, taxonomy, warnings.append)
    recordings = annotated(recordings, annotations).sort_values(Col.RECORDING, ignore_index=True)
    if recordings.empty:
        raise PipelineError(f"{root}: lists no recording in layout {data.layout}; correct data.root or data.layout")
    metadata = Metadata(
        recordings=recordings,
        annotations=annotations,
        taxonomy=taxonomy,
        submission=_read_submission(bounds),
        soundscapes=_list_soundscapes(bounds, data.soundscapes),
        truth=_read_truth(bounds, data.soundscape_truth),
        warnings=tuple(warnings),
    )
    return replace(metadata, warnings=(*warnings, *_match_warnings(metadata, data, bounds)))


def _match_warnings(metadata: Metadata, data: DataParams, bounds: Bounds) -> Iterator[str]:
    """Names by which one table or file calls another, and that nothing answers to."""
    recordings, root = metadata.recordings, bounds.root
    taught = {*recordings[Col.LABEL], *metadata.annotations[Col.LABEL]}
    taxonomy = metadata.taxonomy if (root / TAXONOMY_FILE).exists() else None
    yield from label_warnings(recordings, taught, taxonomy, metadata.submission)
    if data.soundscape_truth is not None:
        yield from truth_warnings(metadata.truth, metadata.soundscapes, taught, root / data.soundscape_truth)
    if data.layout == "birdclef":
        yield from unlisted_warnings(audio_folder(bounds), recordings[Col.PATH], (), "train.csv lists none of them")
    elif data.layout == "annotations":
        apart = [root / data.soundscapes] if data.soundscapes is not None else []
        yield from unlisted_warnings(root, recordings[Col.PATH], apart, "no annotation is about them")


def _read_recordings(
    data: DataParams, bounds: Bounds, warn: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The listed recordings, and what their list says of names; layout `annotations` lists none."""
    if data.layout == "birdclef":
        return read_birdclef(bounds.root, bounds, warn)
    if data.layout == "folders":
        return _read_folders(bounds, data.soundscapes)
    return unlabelled(pd.DataFrame({Col.RECORDING: [], Col.PATH: []}, dtype=str)), pd.DataFrame(columns=TAXONOMY)


def _read_annotations(
    data: DataParams,
    bounds: Bounds,
    recordings: pd.DataFrame,
    taxonomy: pd.DataFrame,
    warn: Callable[[str], None],
) -> pd.DataFrame:
    """The annotations, with the recordings that they are about."""
    names = LabelNames(recordings[Col.LABEL], taxonomy)
    listed = read_annotations(Path(data.annotations), names.label_of, data.links, warn)
    annotations = matched(listed, bounds, recordings, warn)
    known = {*recordings[Col.LABEL], *taxonomy.index}
    if new := sorted({*annotations[Col.LABEL]} - known - {NO_CALL}) if known else []:
        warn(f"{len(new)} label(s) of annotations are new classes, which no recording is labelled with, first {new[0]}")
    return annotations


def _read_folders(bounds: Bounds, soundscapes: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Recordings of layout `folders`: the folder is the label, nothing else is known."""
    root = bounds.root
    not_labels = {root / soundscapes} if soundscapes is not None else set()
    folders = [folder for folder in sorted(root.iterdir(), key=_name) if folder.is_dir() and folder not in not_labels]
    listed = {folder.name: _audio_files(folder, bounds) for folder in folders if not folder.name.startswith(".")}
    labels = [label for label, files in listed.items() if files]
    bad = [label for label in labels if not is_label(label)]
    _refuse_names(root, "folder(s)", bad, f"cannot be labels; {LABEL_RULE}; rename them")
    _refuse_names(root, "folder(s)", _alike(labels), "are alike but for case; rename or join them")
    rows = [(f"{label}/{file.name}", file.as_posix(), label) for label in labels for file in listed[label]]
    table = pd.DataFrame(rows, columns=[Col.RECORDING, Col.PATH, Col.LABEL])
    return unlabelled(table).assign(label=table[Col.LABEL]), pd.DataFrame(columns=TAXONOMY)


def _name(where: AnyPath) -> str:
    return where.name


def _audio_files(folder: AnyPath, bounds: Bounds) -> list[AnyPath]:
    """The audio files in a folder, as far as their names tell.

    Raises
    ------
    PipelineError
        If the folder or a file lies elsewhere, or names cannot stand in a table or cannot be told apart.
    """
    if outside := bounds.why_outside(folder):
        raise PipelineError(f"{folder}: {outside}; {LINKS_HINT}")
    files = sorted((file for file in folder.iterdir() if is_recording(file)), key=_name)
    names = [file.name for file in files]
    plain = bounds.plain_files(folder)
    outside_names = [file.name for file in files if file.name not in plain and bounds.why_outside(file)]
    odd = [name for name in names if not name.isprintable() or "\\" in name]
    _refuse_names(folder, "file name(s)", odd, "are not printable text, or hold a \\; rename them")
    _refuse_names(folder, "file(s)", outside_names, f"are links that lead out of {bounds.root}; {LINKS_HINT}")
    _refuse_names(folder, "file(s)", _alike(names), "are alike but for case or Unicode form; rename or remove some")
    return files


def _alike(names: Sequence[str]) -> list[str]:
    column = pd.Series(names, dtype=str)
    return list(column[colliding(column)])


def _refuse_names(folder: AnyPath, what: str, names: Sequence[str], rule: str) -> None:
    """Raise one error that names all of them, or as many as one can read.

    Raises
    ------
    PipelineError
        If there are any.
    """
    if names:
        more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
        raise PipelineError(f"{folder}: {what} {', '.join(map(ascii, names[:TOLD]))}{more} {rule}")


def read_taxonomy(bounds: Bounds, own_names: pd.DataFrame) -> pd.DataFrame:
    """Names of labels from taxonomy.csv; without it, those that the recordings' own table gives.

    Raises
    ------
    PipelineError
        If taxonomy.csv is no such table, or names a label twice.
    """
    path = bounds.root / TAXONOMY_FILE
    if not path.exists():
        return own_names.reindex(columns=TAXONOMY, fill_value="")
    table = read_user_table(path, ["primary_label"], TAXONOMY, bounds)
    label = table.cells["primary_label"]
    table.refuse([(label.duplicated(keep=False), "primary_label is named twice; keep one row each")])
    return table.cells.set_index("primary_label").reindex(columns=TAXONOMY, fill_value="")


def _read_submission(bounds: Bounds) -> tuple[str, ...] | None:
    """The label columns of sample_submission.csv; None without one, or with a single column beside the first.

    BirdCLEF 2021 and 2022 asked for one column (birds, target): those files say nothing about labels.
    """
    path = bounds.root / "sample_submission.csv"
    if not path.exists():
        return None
    header = read_header(path, bounds)
    columns = header[1:]
    if len(columns) < 2:
        return None
    if header[0] != Col.ROW_ID or len(set(columns)) != len(columns):
        raise PipelineError(f"{path}: row 1 must be row_id and then each label once; correct it, or remove the file")
    bad = [column for column in columns if not is_label(column)]
    _refuse_names(path, "row 1:", bad, f"cannot be labels; {LABEL_RULE}; correct it, or remove the file")
    return tuple(columns)


def _list_soundscapes(bounds: Bounds, name: str | None) -> tuple[AnyPath, ...]:
    if name is None:
        return ()
    folder = bounds.root / name
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder; correct data.soundscapes in params.yaml, or set it to null")
    files = sorted(_audio_files(folder, bounds), key=lambda file: file.stem)
    by_stem = sorted(files, key=lambda file: folded(file.stem))
    pairs = [(one, two) for one, two in itertools.pairwise(by_stem) if folded(one.stem) == folded(two.stem)]
    if pairs:
        twins = "; ".join(f"{one.name} and {two.name}" for one, two in pairs[:TOLD])
        raise PipelineError(f"{folder}: {twins} would share their row_ids; rename or remove one of each")
    _refuse_names(folder, "file(s)", [file.name for file in files if starts_formula(file.name)], FORMULA_RULE)
    return tuple(files)


def _read_truth(bounds: Bounds, name: str | None) -> pd.DataFrame:
    """Read row_id and labels (or birds, as in BirdCLEF 2021) of the soundscapes' windows."""
    if name is None:
        return pd.DataFrame({Col.ROW_ID: [], Col.LABELS: []}, dtype=str)
    path = bounds.root / name
    if not path.exists():
        raise PipelineError(f"{path}: no such file; correct data.soundscape_truth in params.yaml, or set it to null")
    table = read_user_table(path, [Col.ROW_ID], [Col.LABELS, "birds"], bounds)
    column = next((column for column in ("labels", "birds") if column in table.cells), None)
    if column is None:
        raise PipelineError(f"{path}: lacks column labels (or birds); row 1 must name it")
    row_id = table.cells[Col.ROW_ID]
    table.refuse(_truth_problems(row_id, table.cells[column]))
    labels = [_without_no_call(cell.split()) for cell in table.cells[column]]
    return pd.DataFrame({Col.ROW_ID: list(row_id), Col.LABELS: labels}, dtype=str)


def _truth_problems(row_id: pd.Series[str], labels: pd.Series[str]) -> list[Problem]:
    return [
        (row_id == "", "row_id is empty; write <soundscape>_<second the window ends>"),
        (row_id.duplicated(keep=False) & (row_id != ""), "row_id is used twice; keep one row each"),
        (row_id.map(starts_formula).astype(bool), f"row_id {FORMULA_RULE}"),
        (~labels.map(is_word_list).astype(bool), f"labels must be separated by spaces, and {LABEL_RULE}; correct them"),
    ]


def _without_no_call(labels: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(label for label in labels if label != NO_CALL))
