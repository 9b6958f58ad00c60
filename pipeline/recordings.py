"""Stage `recordings`: tables of all that can be trained on and predicted, after a scan of every audio file.

Run as `python -m pipeline.recordings`. Files that cannot be used are left out and listed in reports/data/refused.csv
with the class of the reason and a hint. They stop the stage only when there are too many, and after all is
written. Files that are used although something is odd about them are listed in reports/data/notes.csv.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from birdcache.annotations.read import ROUNDED_S
from birdcache.audio.notes import Note, notes_text
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError, run_stage
from birdcache.files import write_report
from birdcache.params import load as params
from birdcache.params.model import Params
from birdcache.params.sections import DataParams
from birdcache.storage import place
from birdcache.text import counted
from cache import report_tables, tables
from cache.tables import Col
from pipeline.dataset.annotated import annotations_table
from pipeline.dataset.duplicates import with_sounds
from pipeline.dataset.folders import soundscape_folders
from pipeline.dataset.metadata import read_metadata
from pipeline.dataset.places import read_places
from pipeline.dataset.rejected import CHOSEN, check_share, counts_text, refused_rows, write_refused
from pipeline.dataset.scan import scan_files
from pipeline.dataset.sources import sources_table, used_once
from pipeline.dataset.summary import summarise
from pipeline.dataset.window_labels import exam_rows, heard_labels

SUMMARY = Path("reports/data/summary.json")


def main() -> None:
    """Read the metadata, scan the audio, write the tables and the report."""
    settings = params.load()
    metadata = read_metadata(settings.data)
    paths = [path.as_posix() for path in metadata.soundscapes.values()]
    names = pd.DataFrame({Col.SOUNDSCAPE: list(metadata.soundscapes), Col.PATH: paths}, dtype=str)
    both = [scanned(metadata.recordings, settings, "recordings"), scanned(names, settings, "soundscapes")]
    recordings, soundscapes = with_sounds(both, settings.machine)
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
    write_notes(notes)
    tables.RECORDINGS.write(usable)
    tables.SOURCES.write(sources_table(settings.data.sources, list(labels[Col.LABEL]), warnings))
    tables.AUDIO.write(usable.drop_duplicates(Col.SHA256).sort_values(Col.SHA256))  # at the first path that holds it
    tables.ANNOTATIONS.write(annotations)
    tables.LABELS.write(labels)
    tables.SOUNDSCAPES.write(soundscapes[soundscapes[Col.CODE] == ""].sort_values(Col.SOUNDSCAPE))
    tables.SOUNDSCAPE_TRUTH.write(exam_rows(metadata.truth))
    tables.WINDOWS.write(windows)
    wanted = list(metadata.submission.labels or labels[Col.LABEL])
    tables.SUBMISSION_LABELS.write(pd.DataFrame({Col.LABEL: wanted, Col.COLUMN: metadata.submission.column}, dtype=str))
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


def scanned(files: pd.DataFrame, settings: Params, what: str) -> pd.DataFrame:
    """Files, usable or not, by their column `path`, with the columns of `pipeline.dataset.scan.Scan` beside them."""
    return pd.concat([files, scan_files(list(files[Col.PATH]), settings.data, settings.machine, what)], axis=1)


def refused_files(
    recordings: pd.DataFrame, soundscapes: pd.DataFrame, left_out: Sequence[RejectedAudio]
) -> pd.DataFrame:
    """All files that were refused or left out, as in `report_tables.REFUSED`."""
    both = pd.concat([recordings, soundscapes]).rename(columns={Col.PATH: Col.FILE})
    return pd.concat([both.loc[both[Col.CODE] != "", list(report_tables.REFUSED.columns)], refused_rows(left_out)])


def noted(files: pd.DataFrame) -> list[tuple[str, Note]]:
    """The notes of scanned files that are used, each with the file's path."""
    used = files[files[Col.CODE] == ""]
    return [(path, note) for path, notes in zip(used[Col.PATH], used["notes"], strict=True) for note in notes]


def write_notes(notes: Iterable[tuple[str, Note]]) -> None:
    """Write `report_tables.NOTES`, each note once, sorted by file."""
    rows = sorted({(file, note.code, note.detail) for file, note in notes})
    report_tables.NOTES.write(pd.DataFrame(rows, columns=list(report_tables.NOTES.columns), dtype=str))


def with_places(soundscapes: pd.DataFrame, data: DataParams, warn: Callable[[str], None]) -> pd.DataFrame:
    """The scanned soundscapes, and where and when they were recorded (`pipeline.dataset.places`)."""
    folders = [f"{(place(data.root) / folder).as_posix()}/" for folder in soundscape_folders(data)]
    inside = [min((path.removeprefix(folder) for folder in folders), key=len) for path in soundscapes[Col.PATH]]
    names = [re.sub(r"\.[^./]*$", "", path) for path in inside]
    return soundscapes.join(read_places(names, list(soundscapes["comment"]), data.soundscape_names, warn))


def windows_table(
    windows: pd.DataFrame, exam: pd.DataFrame, soundscapes: pd.DataFrame, warn: Callable[[str], None]
) -> pd.DataFrame:
    """The windows that teach and lie in usable soundscapes, without those that do not, which are counted in a warning.

    A PipelineError if a soundscape, or one that holds the same sound, is among those of the exam.
    """
    name, usable = windows[Col.SOUNDSCAPE], soundscapes[soundscapes[Col.CODE] == ""].set_index(Col.SOUNDSCAPE)
    judges = usable.loc[usable.index.isin(exam[Col.SOUNDSCAPE]), Col.SOUND]
    both = name[name.map(usable[Col.SOUND]).isin(judges)].unique()
    if len(both):
        other = judges.index[judges == usable.loc[both[0], Col.SOUND]][0]
        raise PipelineError(
            f"{counted(len(both), 'soundscapes', 'are')} in data.soundscape_labels and in data.soundscape_truth, "
            f"first {both[0]} (there {other}, the same sound): what teaches cannot judge; "
            f"remove their rows from one of the tables"
        )
    duration_s = name.map(usable[Col.DURATION_S]).astype(float)
    behind = windows[Col.END_S] > duration_s + ROUNDED_S
    refused = duration_s.isna() & name.isin(soundscapes[Col.SOUNDSCAPE])
    for rows, what in ((refused, "are of refused soundscapes"), (behind, "end behind their soundscapes")):
        if rows.any():
            first = " to ".join(f"{value:g}" for value in windows.loc[rows, [Col.START_S, Col.END_S]].iloc[0])
            told = f"first of {name[rows].iloc[0]}, {first} s"
            warn(f"{rows.sum()} of {len(windows)} labelled windows {what} and are left out, {told}")
    return windows[duration_s.notna() & ~behind]


def usable_recordings(
    recordings: pd.DataFrame, data: DataParams, annotations: pd.DataFrame, heard: set[str]
) -> pd.DataFrame:
    """The recordings that can be trained on, and of their secondary labels those that can be learnt.

    A secondary label that nothing teaches, no label or annotation of a usable recording and none `heard` in a window,
    or that is the recording's own label, is left out.

    A PipelineError if no recording is usable.
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


if __name__ == "__main__":
    run_stage(main)
