"""The tables that cross from one side of the project to the other: each defined once, read and written through it.

`LABELS.read()` gives a typed frame, `LABELS.write(frame)` writes one; columns are named by `Col`.
"""

from __future__ import annotations

from pathlib import Path

from cache.csv_files import CsvColumn, CsvTable

DATA, REPORTS = Path("data"), Path("reports")  # relative to the project's root, as all paths here
TEXT, NUMBER, COUNT = CsvColumn("text"), CsvColumn("number"), CsvColumn("count")


class Col:
    """Names of columns, each spelt once."""

    AUTHOR = "author"
    AVERAGE_PRECISION = "average_precision"
    CHANNELS = "channels"
    CLASS_NAME = "class_name"
    CODE = "code"
    COMMON_NAME = "common_name"
    CONFUSION = "confusion"
    DATE = "date"
    DETAIL = "detail"
    DURATION_S = "duration_s"
    END_S = "end_s"
    FILE = "file"
    FOLD = "fold"
    GROUP = "group"
    HINT = "hint"
    INDEX = "index"
    LABEL = "label"
    LABELS = "labels"
    LATITUDE = "latitude"
    LONGITUDE = "longitude"
    PATH = "path"
    PREDICTED = "predicted"
    RATING = "rating"
    RECORDING = "recording"
    RECORDINGS = "recordings"
    ROC_AUC = "roc_auc"
    ROW_ID = "row_id"
    SAMPLE_RATE_HZ = "sample_rate_hz"
    SCIENTIFIC_NAME = "scientific_name"
    SECONDARY = "secondary"
    SHA256 = "sha256"
    SOUND = "sound"
    SOUNDSCAPE = "soundscape"
    START_S = "start_s"


NAMES = {
    Col.SCIENTIFIC_NAME: CsvColumn("text", empty="not in the taxonomy"),
    Col.COMMON_NAME: CsvColumn("text", empty="not in the taxonomy"),
    Col.CLASS_NAME: CsvColumn("text", empty="not in the taxonomy"),
}

RECORDINGS = CsvTable(
    DATA / "tables" / "recordings.csv",
    {
        Col.RECORDING: TEXT,  # its path inside the audio folder
        Col.LABEL: TEXT,
        Col.SECONDARY: CsvColumn("text", empty="no secondary label"),  # labels, separated by spaces
        Col.AUTHOR: CsvColumn("text", empty="unknown"),
        Col.RATING: CsvColumn("number", empty="not rated"),  # 1 to 5, 0 is unrated too
        Col.LATITUDE: CsvColumn("number", empty="unknown"),
        Col.LONGITUDE: CsvColumn("number", empty="unknown"),
        Col.DATE: CsvColumn("text", empty="not known to the day"),  # YYYY-MM-DD
        Col.FOLD: CsvColumn("count", empty="the metadata gives none"),  # as the metadata numbers them
        Col.SHA256: TEXT,  # of the audio file's bytes
        Col.SOUND: TEXT,  # SHA-256 of the first file that holds the same sound
        Col.DURATION_S: NUMBER,
        Col.SAMPLE_RATE_HZ: COUNT,
        Col.CHANNELS: COUNT,
    },
)
"""The recordings to train on, sorted by their name."""

AUDIO = CsvTable(DATA / "tables" / "audio.csv", {Col.SHA256: TEXT, Col.PATH: TEXT, Col.DURATION_S: NUMBER})
"""The distinct contents of the recordings, each at the first path or URL that holds it, sorted by hash."""

LABELS = CsvTable(DATA / "tables" / "labels.csv", {Col.INDEX: COUNT, Col.LABEL: TEXT, **NAMES, Col.RECORDINGS: COUNT})
"""The classes in the order of all scores, with the number of recordings that have the label or an annotation of it."""

ANNOTATIONS = CsvTable(
    DATA / "tables" / "annotations.csv",
    {Col.RECORDING: TEXT, Col.START_S: NUMBER, Col.END_S: NUMBER, Col.LABEL: TEXT},
)
"""The annotated times of usable recordings, in order of recording and time."""

SOUNDSCAPES = CsvTable(
    DATA / "tables" / "soundscapes.csv",
    {Col.SHA256: TEXT, Col.PATH: TEXT, Col.DURATION_S: NUMBER, Col.SOUNDSCAPE: TEXT},
)
"""The soundscapes to predict, sorted by name; the name is that of the file without extension."""

SOUNDSCAPE_TRUTH = CsvTable(
    DATA / "tables" / "soundscape_truth.csv",
    {Col.ROW_ID: TEXT, Col.LABELS: CsvColumn("text", empty="nothing sings")},
)
"""Labels heard in windows of soundscapes, separated by spaces; a row id is <soundscape>_<second the window ends>."""

SUBMISSION_LABELS = CsvTable(DATA / "tables" / "submission_labels.csv", {Col.LABEL: TEXT})
"""The columns of a submission, in their order."""

FOLDS = CsvTable(DATA / "folds.csv", {Col.RECORDING: TEXT, Col.FOLD: COUNT, Col.GROUP: COUNT})
"""The fold that validates each recording, from 0, or -1: none does; recordings of a group belong together."""

FOLD_SUMMARY = CsvTable(
    REPORTS / "folds" / "folds.csv",
    {
        Col.FOLD: COUNT,
        Col.RECORDINGS: COUNT,
        "hours": NUMBER,
        "groups": COUNT,
        "authors": COUNT,
        Col.LABELS: COUNT,  # with a recording in this fold
        "labels_without": COUNT,  # validated in other folds only
        "labels_untrained": COUNT,  # in this fold only: validated, but never learnt
    },
)
"""One row per fold, -1 first."""

REFUSED = CsvTable(
    REPORTS / "data" / "refused.csv",
    {Col.FILE: TEXT, Col.CODE: TEXT, Col.DETAIL: CsvColumn("text", empty="no more is known"), Col.HINT: TEXT},
)
"""Audio files that are left out, with the class of the reason and the way out; stages `spectrograms` write such too."""

PER_CLASS = CsvTable(
    REPORTS / "evaluate" / "per_class.csv",
    {
        Col.LABEL: TEXT,
        Col.COMMON_NAME: NAMES[Col.COMMON_NAME],
        Col.RECORDINGS: COUNT,
        Col.AVERAGE_PRECISION: NUMBER,
        Col.ROC_AUC: CsvColumn("number", empty="undefined"),
    },
)
"""The ensemble's out-of-fold metrics of each class that can be scored, best first."""

CONFUSIONS = CsvTable(
    REPORTS / "evaluate" / "confusions.csv",
    {Col.LABEL: TEXT, Col.PREDICTED: TEXT, Col.RECORDINGS: COUNT, Col.CONFUSION: TEXT},
)
"""The ensemble's most frequent mistakes out of fold: label, label given, and both as text."""
