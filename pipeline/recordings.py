"""Stage `recordings`: what there is to train on and to predict, after a look at every audio file.

Run as `python -m pipeline.recordings`. Files that cannot be used are left out and listed in reports/refused.csv with
the class of the reason and the way out. They stop the stage only when there are too many, and after all is written.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from birdcache.errors import PipelineError, run_stage
from birdcache.params import load as params
from birdcache.params.load import DataParams, MachineParams
from cache.csv_files import write_csv
from cache.tables import RECORDINGS
from pipeline.dataset.annotated import annotations_table
from pipeline.dataset.duplicates import with_sounds
from pipeline.dataset.metadata import TAXONOMY, Metadata, read_metadata
from pipeline.dataset.rejected import COLUMNS, check_share, counts_text, write_refused
from pipeline.dataset.scan import scan_files
from pipeline.dataset.summary import draw_classes, summarise, write_report

DATA = Path("data")
REPORTS = Path("reports")
REFUSED = REPORTS / "refused.csv"


def main() -> None:
    """Read the metadata, scan the audio, write the tables and the report."""
    settings = params.load()
    metadata = read_metadata(settings.data)
    recordings = scan_recordings(metadata, settings.data, settings.machine)
    soundscapes = scan_soundscapes(metadata, settings.data, settings.machine)
    recordings, soundscapes = with_sounds([recordings, soundscapes], settings.machine)
    refused = refused_files(recordings, soundscapes)
    write_refused(refused, REFUSED)
    usable = usable_recordings(recordings, settings.data, metadata.annotations)
    annotations = annotations_table(metadata.annotations, usable)
    labels = labels_table(usable, annotations, metadata.taxonomy)
    write_csv(usable[list(RECORDINGS)], DATA / "recordings.csv")
    write_csv(contents_table(usable), DATA / "audio.csv")
    write_csv(annotations, DATA / "annotations.csv")
    write_csv(labels, DATA / "labels.csv")
    write_csv(soundscapes_table(soundscapes), DATA / "soundscapes.csv")
    write_csv(metadata.truth, DATA / "soundscape_truth.csv")
    write_csv(submission_table(metadata, labels), DATA / "submission_labels.csv")
    report = summarise(metadata, recordings, usable, annotations, soundscapes, labels)
    write_report(report, REPORTS / "data.json")
    draw_classes(labels, REPORTS / "classes.png")
    print("\nWARNING: ".join([report["summary"], *report["warnings"]]))
    print(f"refused: {counts_text(refused['code'])}; listed in {REFUSED}")
    check_share(list(refused["code"]), len(recordings) + len(soundscapes), settings.data.max_refused_share, REFUSED)


def scan_recordings(metadata: Metadata, data: DataParams, machine: MachineParams) -> pd.DataFrame:
    """The listed recordings with the columns of `pipeline.dataset.scan.Scan` beside them, usable or not."""
    scans = scan_files(list(metadata.recordings["path"]), data, machine, "recordings")
    return pd.concat([metadata.recordings, scans], axis=1)


def scan_soundscapes(metadata: Metadata, data: DataParams, machine: MachineParams) -> pd.DataFrame:
    """The soundscapes (name without extension, path) with the columns of `Scan`, usable or not."""
    paths = [path.as_posix() for path in metadata.soundscapes]
    names = pd.DataFrame({"soundscape": [path.stem for path in metadata.soundscapes], "path": paths}, dtype=str)
    return pd.concat([names, scan_files(paths, data, machine, "soundscapes")], axis=1)


def refused_files(recordings: pd.DataFrame, soundscapes: pd.DataFrame) -> pd.DataFrame:
    """All files that were refused, with the columns that reports/refused.csv has."""
    both = pd.concat([recordings.rename(columns={"path": "file"}), soundscapes.rename(columns={"path": "file"})])
    return both.loc[both["code"] != "", COLUMNS]


def usable_recordings(recordings: pd.DataFrame, data: DataParams, annotations: pd.DataFrame) -> pd.DataFrame:
    """The recordings that can be trained on, and of their secondary labels those that can be learnt.

    A secondary label that no usable recording teaches, by its label or its annotations, or that is the recording's own
    label, is left out.

    Raises
    ------
    PipelineError
        If no recording is usable.
    """
    usable = recordings[recordings["code"] == ""].reset_index(drop=True)
    if usable.empty:
        path, detail, hint = recordings[["path", "detail", "hint"]].iloc[0]
        first = f"{path}: {detail}; {hint}"
        raise PipelineError(f"{data.root}: none of {len(recordings)} recordings is usable; the first: {first}")
    known = {*usable["label"], *annotations.loc[annotations["recording"].isin(usable["recording"]), "label"]}
    secondary = [
        " ".join(label for label in listed.split() if label in known and label != own)
        for listed, own in zip(usable["secondary"], usable["label"], strict=True)
    ]
    return usable.assign(secondary=secondary)


def contents_table(usable: pd.DataFrame) -> pd.DataFrame:
    """What must be decoded: each distinct content once, at the first path that holds it, sorted by hash."""
    distinct = usable.drop_duplicates("sha256").sort_values("sha256")
    return distinct[["sha256", "path", "duration_s"]]


def labels_table(usable: pd.DataFrame, annotations: pd.DataFrame, taxonomy: pd.DataFrame) -> pd.DataFrame:
    """The classes: index, label, names, and number of usable recordings that have the label or an annotation of it."""
    named = pd.concat([usable[["recording", "label"]], annotations[["recording", "label"]]]).drop_duplicates()
    counts = named["label"].value_counts().sort_index()
    names = taxonomy[TAXONOMY].reindex(counts.index).fillna("")
    table = names.assign(label=counts.index, recordings=counts, index=range(len(counts)))
    return table[["index", "label", *TAXONOMY, "recordings"]].reset_index(drop=True)


def soundscapes_table(soundscapes: pd.DataFrame) -> pd.DataFrame:
    """The usable soundscapes, sorted by name; without rows if there are none."""
    usable = soundscapes[soundscapes["code"] == ""].sort_values("soundscape")
    return usable[["sha256", "path", "duration_s", "soundscape"]]


def submission_table(metadata: Metadata, labels: pd.DataFrame) -> pd.DataFrame:
    """The labels of a submission in their order: the data set's own order, else all labels sorted."""
    wanted = metadata.submission if metadata.submission is not None else tuple(labels["label"])
    return pd.DataFrame({"label": wanted}, dtype=str)


if __name__ == "__main__":
    run_stage(main)
