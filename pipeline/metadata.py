"""What a data set says about itself: recordings and labels, taxonomy, soundscapes and what sings in them.

Three layouts: `birdclef` (train.csv beside train_audio/, read in `pipeline.birdclef`), `folders`
(<root>/<label>/*.ogg), and `annotations` (audio files that only annotations tell of). Nothing here opens an audio file.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cache.places import Place, place, reaching
from params import DataParams
from pipeline.annotations.matching import matched
from pipeline.annotations.reading import read_annotations
from pipeline.annotations.recordings import annotated, unlabelled
from pipeline.audio import AUDIO_EXTENSIONS
from pipeline.birdclef import read_birdclef
from pipeline.errors import PipelineError
from pipeline.labels import LABEL_RULE, is_label, is_word_list
from pipeline.tables import read_text_table, refuse_rows

NO_CALL = "nocall"
TAXONOMY = ["scientific_name", "common_name", "class_name"]


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
    """

    recordings: pd.DataFrame
    annotations: pd.DataFrame
    taxonomy: pd.DataFrame
    submission: tuple[str, ...] | None
    soundscapes: tuple[Place, ...]
    truth: pd.DataFrame


def read_metadata(data: DataParams) -> Metadata:
    """Read everything that a data set's files say, short of the audio.

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
    recordings, own_names = _read_recordings(data, root)
    taxonomy = _read_taxonomy(root / "taxonomy.csv", own_names)
    annotations = _read_annotations(data, root, recordings, taxonomy)
    recordings = annotated(recordings, annotations).sort_values("recording", ignore_index=True)
    if recordings.empty:
        raise PipelineError(f"{root}: lists no recording in layout {data.layout}; correct data.root or data.layout")
    return Metadata(
        recordings=recordings,
        annotations=annotations,
        taxonomy=taxonomy,
        submission=_read_submission(root / "sample_submission.csv", set(recordings["label"])),
        soundscapes=_list_soundscapes(root, data.soundscapes),
        truth=_read_truth(root, data.soundscape_truth),
    )


def _read_recordings(data: DataParams, root: Place) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The listed recordings, and what their list says of names; layout `annotations` lists none."""
    if data.layout == "birdclef":
        return read_birdclef(root)
    if data.layout == "folders":
        return _read_folders(root, data.soundscapes)
    return unlabelled(pd.DataFrame({"recording": [], "path": []}, dtype=str)), pd.DataFrame(columns=TAXONOMY)


def _read_annotations(data: DataParams, root: Place, recordings: pd.DataFrame, taxonomy: pd.DataFrame) -> pd.DataFrame:
    """The annotations, with the recordings that they are about."""
    names = {name.lower(): str(label) for column in TAXONOMY[:2] for label, name in taxonomy[column].items() if name}
    annotations = read_annotations(Path(data.annotations), lambda cell: names.get(cell.lower(), cell))
    return matched(annotations, root, recordings)


def _read_folders(root: Place, soundscapes: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Recordings of layout `folders`: the folder is the label, nothing else is known."""
    not_labels = {root / soundscapes} if soundscapes is not None else set()
    folders = [folder for folder in sorted(root.iterdir(), key=_name) if folder.is_dir() and folder not in not_labels]
    listed = {folder.name: _audio_files(folder) for folder in folders if not folder.name.startswith(".")}
    labels = [label for label, files in listed.items() if files]
    bad = ", ".join(repr(label) for label in labels if not is_label(label))
    if bad:
        raise PipelineError(f"{root}: folder(s) {bad} cannot be labels; {LABEL_RULE}; rename them")
    rows = [(f"{label}/{file.name}", file.as_posix(), label) for label in labels for file in listed[label]]
    table = pd.DataFrame(rows, columns=["recording", "path", "label"])
    return unlabelled(table).assign(label=table["label"]), pd.DataFrame(columns=TAXONOMY)


def _name(where: Place) -> str:
    return where.name


def _audio_files(folder: Place) -> list[Place]:
    files = sorted((file for file in folder.iterdir() if file.suffix.lower() in AUDIO_EXTENSIONS), key=_name)
    odd = ", ".join(ascii(file.name) for file in files if not file.name.isprintable())
    if odd:
        raise PipelineError(
            f"{folder}: file name(s) {odd} are not printable text, so no table can hold them; rename them"
        )
    return files


def _read_taxonomy(path: Place, own_names: pd.DataFrame) -> pd.DataFrame:
    """Names of labels from taxonomy.csv; without it, those that the recordings' own table gives."""
    if not path.exists():
        return own_names.reindex(columns=TAXONOMY, fill_value="")
    table = read_text_table(path, ["primary_label"])
    label = table["primary_label"]
    refuse_rows(path, [(label.duplicated(keep=False), "primary_label is named twice; keep one row each")])
    return table.set_index("primary_label").reindex(columns=TAXONOMY, fill_value="")


def _read_submission(path: Place, labels: set[str]) -> tuple[str, ...] | None:
    """The label columns of sample_submission.csv; None without one, or if it has no label among its columns.

    BirdCLEF 2021 and 2022 asked for other columns (birds, target): those files say nothing about labels.
    """
    if not path.exists():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path}: cannot be read ({error}); restore it, or remove it") from error
    columns = [column.strip() for column in header[1:]]
    if not labels.intersection(columns):
        return None
    if header[0].strip() != "row_id" or len(set(columns)) != len(columns):
        raise PipelineError(f"{path}: row 1 must be row_id and then each label once; correct it, or remove the file")
    return tuple(columns)


def _list_soundscapes(root: Place, name: str | None) -> tuple[Place, ...]:
    if name is None:
        return ()
    folder = root / name
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder; correct data.soundscapes in params.yaml, or set it to null")
    files = sorted(_audio_files(folder), key=lambda file: file.stem)
    twins = [f"{one.name} and {two.name}" for one, two in itertools.pairwise(files) if one.stem == two.stem]
    if twins:
        raise PipelineError(f"{folder}: {'; '.join(twins)} would share their row_ids; rename or remove one of each")
    return tuple(files)


def _read_truth(root: Place, name: str | None) -> pd.DataFrame:
    """Read row_id and labels (or birds, as in BirdCLEF 2021) of the soundscapes' windows."""
    if name is None:
        return pd.DataFrame({"row_id": [], "labels": []}, dtype=str)
    path = root / name
    if not path.exists():
        raise PipelineError(f"{path}: no such file; correct data.soundscape_truth in params.yaml, or set it to null")
    table = read_text_table(path, ["row_id"])
    column = next((column for column in ("labels", "birds") if column in table.columns), None)
    if column is None:
        raise PipelineError(f"{path}: lacks column labels (or birds); row 1 must name it")
    refuse_rows(path, _truth_problems(table["row_id"], table[column]))
    labels = [_without_no_call(cell.split()) for cell in table[column]]
    return pd.DataFrame({"row_id": list(table["row_id"]), "labels": labels}, dtype=str)


def _truth_problems(row_id: pd.Series[str], labels: pd.Series[str]) -> list[tuple[pd.Series[bool], str]]:
    return [
        (row_id == "", "row_id is empty; write <soundscape>_<second the window ends>"),
        (row_id.duplicated(keep=False) & (row_id != ""), "row_id is used twice; keep one row each"),
        (~labels.map(is_word_list).astype(bool), f"labels must be separated by spaces, and {LABEL_RULE}; correct them"),
    ]


def _without_no_call(labels: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(label for label in labels if label != NO_CALL))
