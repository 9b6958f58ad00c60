"""Stage `recordings`: tables of all that can be trained on and predicted, after a scan of every audio file.

Run as `python -m pipeline.recordings`. Files that cannot be used are left out and listed in reports/data/refused.csv
with the class of the reason and a hint. They stop the stage only when there are too many, and after all is
written. Files that are used although something is odd about them are listed in reports/data/notes.csv.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from birdcache.audio.notes import notes_text
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError, run_stage
from birdcache.files import write_report
from birdcache.params import load as params
from birdcache.params.sections import DataParams, MachineParams
from birdcache.storage import place
from cache import report_tables, tables
from cache.tables import Col
from pipeline.dataset.annotated import annotations_table
from pipeline.dataset.duplicates import with_sounds
from pipeline.dataset.folders import soundscape_folders
from pipeline.dataset.metadata import Metadata, read_metadata
from pipeline.dataset.notes import noted, write_notes
from pipeline.dataset.places import read_places
from pipeline.dataset.rejected import CHOSEN, check_share, counts_text, write_refused
from pipeline.dataset.scan import scan_files
from pipeline.dataset.sources import sources_table, used_once
from pipeline.dataset.summary import summarise
from pipeline.dataset.window_labels import exam_rows, heard_labels
from pipeline.dataset.windows import windows_table

SUMMARY = Path("reports/data/summary.json")


def main() -> None:
    """Read the metadata, scan the audio, write the tables and the report."""
    settings = params.load()
    metadata = read_metadata(settings.data)
    recordings = scan_recordings(metadata, settings.data, settings.machine)
    soundscapes = scan_soundscapes(metadata, settings.data, settings.machine)
    recordings, soundscapes = with_sounds([recordings, soundscapes], settings.machine)
    warnings: list[str] = []
    recordings = used_once(recordings, list(settings.data.sources), warnings)
    soundscapes = with_places(soundscapes, settings.data, warnings.append)
    refused = refused_files(recordings, soundscapes, metadata.left_out)
    write_refused(refused, report_tables.REFUSED)
    windows = windows_table(metadata.windows, metadata.truth, soundscapes, warnings.append)
    heard = heard_labels(windows)
    usable = usable_recordings(recordings, settings.data, metadata.annotations, heard)
    annotations = annotations_table(metadata.annotations, usable, warnings.append)
    labels = labels_table(usable, annotations, metadata.taxonomy, heard)
    notes = noted(recordings) + noted(soundscapes)
    write_notes(notes, report_tables.NOTES)
    tables.RECORDINGS.write(usable)
    tables.SOURCES.write(sources_table(settings.data.sources, list(labels[Col.LABEL]), warnings))
    tables.AUDIO.write(contents_table(usable))
    tables.ANNOTATIONS.write(annotations)
    tables.LABELS.write(labels)
    tables.SOUNDSCAPES.write(soundscapes_table(soundscapes))
    tables.SOUNDSCAPE_TRUTH.write(exam_rows(metadata.truth))
    tables.WINDOWS.write(windows)
    tables.SUBMISSION_LABELS.write(submission_table(metadata, labels))
    report = summarise(metadata, recordings, usable, annotations, soundscapes, labels)
    report["warnings"] += warnings
    report["notes"] = dict(sorted(Counter(note.code for _, note in notes).items()))
    write_report(report, SUMMARY)
    print("\nWARNING: ".join([report["summary"], *report["warnings"]]))
    codes = list(refused[Col.CODE])
    first = f", first {refused[Col.FILE].iloc[0]}" if codes else ""
    print(f"refused: {counts_text(codes)}{first}; listed in {report_tables.REFUSED.path}")
    if notes:
        print(f"{notes_text(notes)}; listed in {report_tables.NOTES.path}")
    files = len(recordings) + len(soundscapes) + sum(each.code not in CHOSEN for each in metadata.left_out)
    check_share(codes, files, settings.data.max_refused_share, report_tables.REFUSED)


def scan_recordings(metadata: Metadata, data: DataParams, machine: MachineParams) -> pd.DataFrame:
    """The listed recordings with the columns of `pipeline.dataset.scan.Scan` beside them, usable or not."""
    scans = scan_files(list(metadata.recordings[Col.PATH]), data, machine, "recordings")
    return pd.concat([metadata.recordings, scans], axis=1)


def scan_soundscapes(metadata: Metadata, data: DataParams, machine: MachineParams) -> pd.DataFrame:
    """The soundscapes (name, path) with the columns of `Scan`, usable or not."""
    paths = [path.as_posix() for path in metadata.soundscapes.values()]
    names = pd.DataFrame({Col.SOUNDSCAPE: list(metadata.soundscapes), Col.PATH: paths}, dtype=str)
    return pd.concat([names, scan_files(paths, data, machine, "soundscapes")], axis=1)


def refused_files(
    recordings: pd.DataFrame, soundscapes: pd.DataFrame, left_out: Sequence[RejectedAudio]
) -> pd.DataFrame:
    """All files that were refused or left out, as in `report_tables.REFUSED`."""
    columns = list(report_tables.REFUSED.columns)
    both = pd.concat([recordings, soundscapes]).rename(columns={Col.PATH: Col.FILE})
    rows = [(each.file, each.code, each.detail, each.hint) for each in left_out]
    return pd.concat([both.loc[both[Col.CODE] != "", columns], pd.DataFrame(rows, columns=columns, dtype=str)])


def with_places(soundscapes: pd.DataFrame, data: DataParams, warn: Callable[[str], None]) -> pd.DataFrame:
    """The scanned soundscapes, and where and when they were recorded (`pipeline.dataset.places`)."""
    folders = [f"{(place(data.root) / folder).as_posix()}/" for folder in soundscape_folders(data)]
    own = [max((folder for folder in folders if path.startswith(folder)), key=len) for path in soundscapes[Col.PATH]]
    inside = [path.removeprefix(folder) for path, folder in zip(soundscapes[Col.PATH], own, strict=True)]
    names = [PurePosixPath(path).with_suffix("").as_posix() for path in inside]
    return soundscapes.join(read_places(names, list(soundscapes["comment"]), data.soundscape_names, warn))


def usable_recordings(
    recordings: pd.DataFrame, data: DataParams, annotations: pd.DataFrame, heard: set[str]
) -> pd.DataFrame:
    """The recordings that can be trained on, and of their secondary labels those that can be learnt.

    A secondary label that nothing teaches, no label or annotation of a usable recording and none `heard` in a window,
    or that is the recording's own label, is left out.

    Raises
    ------
    PipelineError
        If no recording is usable.
    """
    usable = recordings[recordings[Col.CODE] == ""].reset_index(drop=True)
    if usable.empty:
        path, detail, hint = recordings[[Col.PATH, Col.DETAIL, Col.HINT]].iloc[0]
        first = f"{path}: {detail}; {hint}"
        listed = f"{counts_text(recordings[Col.CODE])} are listed in {report_tables.REFUSED.path}"
        raise PipelineError(
            f"{data.root}: none of {len(recordings)} recordings is usable; the first: {first}; {listed}"
        )
    taught = annotations[Col.RECORDING].isin(usable[Col.RECORDING])
    known = {*usable[Col.LABEL], *annotations.loc[taught, Col.LABEL], *heard}
    secondary = [
        " ".join(label for label in listed.split() if label in known and label != own)
        for listed, own in zip(usable[Col.SECONDARY], usable[Col.LABEL], strict=True)
    ]
    return usable.assign(secondary=secondary)


def contents_table(usable: pd.DataFrame) -> pd.DataFrame:
    """Audio to decode: each distinct content once, at the first path that holds it, sorted by hash."""
    return usable.drop_duplicates(Col.SHA256).sort_values(Col.SHA256)[list(tables.AUDIO.columns)]


def labels_table(
    usable: pd.DataFrame, annotations: pd.DataFrame, taxonomy: pd.DataFrame, heard: set[str]
) -> pd.DataFrame:
    """The classes: index, label, names, and number of usable recordings that have the label or an annotation of it.

    Labels that are only `heard`, in windows of soundscapes, have none.
    """
    pair = [Col.RECORDING, Col.LABEL]
    counts = pd.concat([usable[pair], annotations[pair]]).drop_duplicates()[Col.LABEL].value_counts()
    counts = counts.reindex(sorted({*counts.index, *heard}), fill_value=0)
    names = taxonomy[list(tables.NAMES)].reindex(counts.index).fillna("")
    table = names.assign(label=counts.index, recordings=counts, index=range(len(counts)))
    return table[list(tables.LABELS.columns)].reset_index(drop=True)


def soundscapes_table(soundscapes: pd.DataFrame) -> pd.DataFrame:
    """The usable soundscapes, sorted by name; without rows if there are none."""
    return soundscapes[soundscapes[Col.CODE] == ""].sort_values(Col.SOUNDSCAPE)


def submission_table(metadata: Metadata, labels: pd.DataFrame) -> pd.DataFrame:
    """The labels of a submission in their order: the data set's own order, else all labels sorted."""
    wanted = metadata.submission if metadata.submission is not None else tuple(labels[Col.LABEL])
    return pd.DataFrame({Col.LABEL: wanted}, dtype=str)


if __name__ == "__main__":
    run_stage(main)
