"""Summary of a data set by stage `recordings`: reports/data/summary.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from birdcache.audio.listing import left_out_lines
from birdcache.text import counted
from birdcache.unknown import is_unknown
from cache.tables import Col
from pipeline.dataset.metadata import Metadata


def summarise(
    metadata: Metadata,
    recordings: pd.DataFrame,
    usable: pd.DataFrame,
    annotations: pd.DataFrame,
    soundscapes: pd.DataFrame,
    labels: pd.DataFrame,
) -> dict[str, Any]:
    """Count what there is and list what is odd.

    Parameters
    ----------
    metadata : what the data set's files say.
    recordings, soundscapes : all that are listed, with the columns of `pipeline.dataset.scan.Scan`.
    usable : the usable recordings.
    annotations : those of usable recordings, as in data/tables/annotations.csv.
    labels : the classes, as in data/tables/labels.csv.

    Returns
    -------
    Plain values for JSON; hours are rounded to 0.001, files are named as in the audio folder.
    """
    known = set(labels[Col.LABEL])
    unusable = len(recordings) - len(usable)
    hours = _hours(usable[Col.DURATION_S])
    summary = f"{counted(len(usable), 'usable recordings')} of {counted(len(known), 'labels')}, {hours:g} hours"
    contents = _contents(usable, soundscapes)
    by_count = labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    return {
        "summary": f"{summary}; {unusable} unusable; {counted((soundscapes['code'] == '').sum(), 'soundscapes')}",
        "recordings": {"listed": len(recordings), "usable": len(usable), "unusable": unusable, "hours": hours},
        "annotations": {"times": len(annotations), "recordings": int(annotations[Col.RECORDING].nunique())},
        "files": {
            "found": len(recordings) + len(soundscapes) + len(metadata.left_out) + metadata.others,
            "left_out": len(metadata.left_out),
            "no_sound": metadata.others,
        },
        "warnings": [
            *left_out_lines(metadata.left_out),
            *metadata.warnings,
            *_warnings(contents),
            *_lost(metadata, usable),
            *_label_warnings(known, labels.loc[labels[Col.RECORDINGS] == 0, Col.LABEL]),
        ],
        "contents": contents,
        "refused": _refused(recordings),
        "no_end": list(recordings.loc[recordings["no_end"], Col.RECORDING]),
        "recordists": int(usable.loc[usable[Col.AUTHOR] != "", Col.AUTHOR].nunique()),
        "secondary_labels": {
            "recordings": int((usable[Col.SECONDARY] != "").sum()),
            "unknown": _unknown(recordings.loc[recordings[Col.CODE] == "", Col.SECONDARY], known),
        },
        "soundscapes": _soundscapes(metadata, soundscapes, known),
        "never_heard": [label for label in metadata.submission.labels if label not in known],
        "labels": dict(zip(by_count[Col.LABEL], map(int, by_count[Col.RECORDINGS]), strict=True)),
    }


def _hours(duration_s: pd.Series[float]) -> float:
    return round(float(duration_s.sum()) / 3600, 3)


def _contents(usable: pd.DataFrame, soundscapes: pd.DataFrame) -> dict[str, Any]:
    """Number of sounds, and those that occur more than once: in several recordings, or as soundscapes too."""
    shared = [group for _, group in usable[usable[Col.SOUND].duplicated(keep=False)].groupby(Col.SOUND)]
    scapes = soundscapes[(soundscapes[Col.SOUND] != "") & soundscapes[Col.SOUND].isin(usable[Col.SOUND])]
    return {
        "distinct": int(usable[Col.SOUND].nunique()),
        "duplicates": sorted(list(group[Col.RECORDING]) for group in shared),
        "across_labels": sorted(list(group[Col.RECORDING]) for group in shared if len(set(group[Col.LABEL])) > 1),
        "also_soundscapes": {
            name: list(usable.loc[usable[Col.SOUND] == sound, Col.RECORDING])
            for name, sound in zip(scapes[Col.SOUNDSCAPE], scapes[Col.SOUND], strict=True)
        },
    }


def _warnings(contents: dict[str, Any]) -> Iterator[str]:
    if across := contents["across_labels"]:
        first = " and ".join(across[0])
        yield f"{counted(len(across), 'sounds', 'have')} several labels, first {first}; see reports/data/summary.json"
    if scapes := contents["also_soundscapes"]:
        first = next(iter(scapes))
        yield f"recordings too: {counted(len(scapes), 'soundscapes')}, first {first}; see reports/data/summary.json"


def _lost(metadata: Metadata, usable: pd.DataFrame) -> Iterator[str]:
    """Labels and annotated times of which no recording is left, since all were refused."""
    times = metadata.annotations
    left = times[Col.RECORDING].isin(usable[Col.RECORDING])
    gone = sorted(
        {*metadata.recordings[Col.LABEL], *times[Col.LABEL]} - {*usable[Col.LABEL], *times.loc[left, Col.LABEL]}
    )
    listed = "see reports/data/refused.csv"
    if gone:
        yield f"{counted(len(gone), 'labels', 'have')} no usable recording and no class, first {gone[0]}; {listed}"
    if not left.all():
        first = times.loc[~left, Col.RECORDING].iloc[0]
        yield f"{(~left).sum()} of {len(times)} annotated times are in refused recordings, first {first}; {listed}"


def _label_warnings(known: set[str], without: pd.Series[str]) -> Iterator[str]:
    if len(without):
        told = "have no recording and are learnt from windows of soundscapes alone"
        yield f"{len(without)} of {len(known)} labels {told}, first {without.iloc[0]}"
    if len(known) == 1:
        yield (
            f"all recordings have one label, {min(known)}, and there is nothing to tell it from: add recordings "
            "without it under the label nocall, or annotate times (docs/annotations.md) and set loss.kind: bce"
        )
    if words := sorted(filter(is_unknown, known)):
        yield (
            f"{counted(len(words), 'labels')} of unknown species, such as {words[0]}: learnt as classes "
            "all the same; remove their recordings unless you want that"
        )


def _refused(files: pd.DataFrame) -> dict[str, int]:
    """Number of refused files of each class; reports/data/refused.csv names them."""
    return dict(sorted(Counter(files.loc[files[Col.CODE] != "", Col.CODE]).items()))


def _unknown(listed: Iterable[str], known: set[str]) -> dict[str, int]:
    """Number of times that each label is named that no usable recording has."""
    counts = Counter(label for labels in listed for label in labels.split() if label not in known)
    return dict(sorted(counts.items()))


def _soundscapes(metadata: Metadata, soundscapes: pd.DataFrame, known: set[str]) -> dict[str, Any]:
    usable = soundscapes[soundscapes[Col.CODE] == ""]
    names = set(usable[Col.SOUNDSCAPE])
    return {
        "usable": len(usable),
        "sites": int(usable.loc[usable[Col.SITE] != "", Col.SITE].nunique()),
        "hours": _hours(usable[Col.DURATION_S]),
        "refused": _refused(soundscapes),
        "no_end": list(soundscapes.loc[soundscapes["no_end"].astype(bool), Col.SOUNDSCAPE]),
        "truth_rows": len(metadata.truth),
        "truth_rows_without_soundscape": int((~metadata.truth[Col.SOUNDSCAPE].isin(names)).sum()),
        "truth_labels_unknown": _unknown(metadata.truth[Col.LABELS], known),
    }
