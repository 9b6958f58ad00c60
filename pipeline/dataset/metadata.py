"""Metadata of a data set: recordings and labels, taxonomy, soundscapes and their truth.

Three layouts: `birdclef` (train.csv beside train_audio/, read in `pipeline.dataset.birdclef`), `folders` (the first
folder below the root is the class, `pipeline.dataset.folders`), and `annotations` (audio files that only annotations
tell of). Nothing here decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from birdcache.annotations.label_names import LabelNames
from birdcache.annotations.match import matched
from birdcache.annotations.read import read_annotations
from birdcache.audio.listing import left_out_lines
from birdcache.audio.paths import Bounds
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from birdcache.predict.submission import SAMPLE, SubmissionForm, read_form
from birdcache.storage import AnyPath
from birdcache.user_tables import read_user_table
from cache.tables import NAMES, Col
from pipeline.dataset.annotated import annotated
from pipeline.dataset.birdclef import UNLISTED, audio_folder
from pipeline.dataset.folders import alike_warning, list_soundscapes, soundscape_folders
from pipeline.dataset.matches import label_warnings, unlisted_warnings, window_warnings
from pipeline.dataset.sources import read_listed, read_sources, root_folder
from pipeline.dataset.window_labels import NO_CALL, heard_labels, read_windows

TAXONOMY, TAXONOMY_FILE = list(NAMES), "taxonomy.csv"
EBIRD = {"SCI_NAME": Col.SCIENTIFIC_NAME, "PRIMARY_COM_NAME": Col.COMMON_NAME}


@dataclass(frozen=True)
class Metadata:
    """A data set as its files list it; audio may still turn out missing or broken."""

    # one row per listed recording, sorted by `recording` (its path inside the audio folder): recording, path (or URL,
    # as openable from the project's root), label, secondary (space-separated), author, rating, latitude, longitude,
    # date (ISO or ""), fold (ready fold or NA), source (a name of data.sources, "" for data.root)
    recordings: pd.DataFrame
    # recording, path, start_s, end_s, label, table, row: what is heard when, in recordings where somebody wrote that
    # down; their label and secondary follow from it
    annotations: pd.DataFrame
    taxonomy: pd.DataFrame  # scientific_name, common_name, class_name, indexed by label; a label may be missing
    submission: SubmissionForm  # without labels if the data set does not say
    soundscapes: dict[str, AnyPath]  # long recordings by the names that begin their row ids, sorted by name
    truth: pd.DataFrame  # windows of the exam, as `pipeline.dataset.window_labels.read_windows` has them
    windows: pd.DataFrame  # likewise, windows that teach and examine
    # what was read, but not as it stands, or matches nothing, with counts and an example each
    warnings: tuple[str, ...]
    left_out: tuple[RejectedAudio, ...] = ()  # files that cannot be used for their names, places or kinds
    others: int = 0  # number of files beside them that are no sound


def read_metadata(data: DataParams) -> Metadata:
    """Read all of a data set but its audio.

    A PipelineError if a file or folder is missing or a row breaks a rule; all bad rows of a file are listed at once. A
    StoreError if data.root is a URL that cannot be opened or reached.
    """
    root = root_folder(data.root, "data.root")
    bounds = Bounds(root, data.links)
    warnings: list[str] = []
    listed = read_listed(data, bounds, soundscape_folders(data), warnings.append)
    taxonomy = read_taxonomy(bounds, listed.names, listed.codes)
    annotations = _read_annotations(data, bounds, listed.recordings, taxonomy, warnings.append)
    recordings = annotated(listed.recordings, annotations)
    soundscapes, beside = list_soundscapes(bounds, soundscape_folders(data))
    left_out = (*listed.files.left_out, *beside.left_out)
    if recordings.empty:
        why = f"lists no recording in layout {data.layout}; correct data.root or data.layout"
        raise PipelineError("\n".join([f"{root}: {why}", *left_out_lines(left_out)]))
    further = read_sources(data, recordings[Col.RECORDING], warnings)
    recordings = pd.concat([recordings.assign(source=""), *(each.recordings for each in further)], ignore_index=True)
    if not recordings[Col.RECORDING].is_monotonic_increasing:
        recordings = recordings.sort_values(Col.RECORDING, ignore_index=True)
    taxonomy = pd.concat([taxonomy, *(each.names for each in further)]).reindex(columns=TAXONOMY).fillna("")
    taxonomy = taxonomy.iloc[(taxonomy == "").all(axis=1).to_numpy().argsort(kind="stable")]  # names come before none
    warnings += alike_warning([*recordings[Col.RECORDING], *soundscapes])
    sample = root / SAMPLE
    submission = read_form(sample, bounds) if sample.exists() else SubmissionForm(())
    submission.check_apart(soundscapes.items(), f"rename one, or remove {SAMPLE}")
    metadata = Metadata(
        recordings=recordings,
        annotations=annotations,
        taxonomy=taxonomy[~taxonomy.index.duplicated()],
        submission=submission,
        soundscapes=soundscapes,
        truth=read_windows(bounds, data.soundscape_truth, soundscapes, "soundscape_truth"),
        windows=read_windows(bounds, data.soundscape_labels, soundscapes, "soundscape_labels"),
        warnings=tuple(warnings),
        left_out=(*left_out, *(rejected for each in further for rejected in each.files.left_out)),
        others=listed.files.others + beside.others + sum(each.files.others for each in further),
    )
    return replace(metadata, warnings=(*warnings, *_match_warnings(metadata, data, bounds)))


def _match_warnings(metadata: Metadata, data: DataParams, bounds: Bounds) -> Iterator[str]:
    """Names by which one table or file calls another, and that nothing answers to."""
    recordings, root = metadata.recordings, bounds.root
    apart = [root / folder for folder in soundscape_folders(data)]
    taught = {*recordings[Col.LABEL].unique(), *metadata.annotations[Col.LABEL], *heard_labels(metadata.windows)}
    taxonomy = metadata.taxonomy if taxonomy_path(root) else None
    yield from label_warnings(recordings, taught, taxonomy, metadata.submission)
    tables = {"soundscape_labels": metadata.windows, "soundscape_truth": metadata.truth}
    for key, windows in tables.items():
        if name := getattr(data, key):
            yield from window_warnings(windows, metadata.soundscapes, taught, root / name, key)
    if data.layout == "birdclef":
        yield from unlisted_warnings(audio_folder(bounds, data), bounds, recordings[Col.PATH], apart, UNLISTED)
    elif data.layout == "annotations":
        yield from unlisted_warnings(root, bounds, recordings[Col.PATH], apart, "no annotation is about them")


def _read_annotations(
    data: DataParams, bounds: Bounds, recordings: pd.DataFrame, taxonomy: pd.DataFrame, warn: Callable[[str], None]
) -> pd.DataFrame:
    """The annotations, with the recordings that they are about."""
    names = LabelNames(recordings[Col.LABEL], taxonomy)
    listed = read_annotations(Path(data.annotations), names.label_of, data.links, warn)
    annotations = matched(listed, bounds, recordings, warn)
    known = {*recordings[Col.LABEL], *taxonomy.index}
    if new := sorted({*annotations[Col.LABEL]} - known - {NO_CALL}) if known else []:
        warn(f"new classes by annotations, which no recording has: {len(new)}, first {new[0]}")
    return annotations


def taxonomy_path(root: AnyPath) -> AnyPath | None:
    """taxonomy.csv, else the latest eBird_Taxonomy_v<year>.csv, as in BirdCLEF 2022 to 2024."""
    if (root / TAXONOMY_FILE).exists():
        return root / TAXONOMY_FILE
    ebird = (path for path in root.iterdir() if fnmatch(path.name.lower(), "ebird_taxonomy*.csv"))
    return max(ebird, key=lambda path: path.name, default=None)


def read_taxonomy(bounds: Bounds, own_names: pd.DataFrame, codes: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Names of labels from the taxonomy; of labels that it lacks, those that the recordings' own list gives.

    A PipelineError if it is no such table, or names a label twice.

    Parameters
    ----------
    codes : of folders, by which the taxonomy may name their labels.
    """
    path, own = taxonomy_path(bounds.root), own_names.reindex(columns=TAXONOMY, fill_value="")
    if path is None:
        return own
    code, names = ("primary_label", TAXONOMY) if path.name == TAXONOMY_FILE else ("SPECIES_CODE", list(EBIRD))
    table = read_user_table(path, [code], names, bounds)
    label = table.cells[code].replace(dict(codes or {}))
    table.refuse([(label.duplicated(keep=False), f"{code} is named twice; keep one row each")])
    named = table.cells.set_index(label).rename(columns=EBIRD).reindex(columns=TAXONOMY, fill_value="")
    return pd.concat([named, own[~own.index.isin(named.index) & (own != "").any(axis=1)]])
