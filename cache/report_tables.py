"""Tables among the reports that another stage or the report page reads; beside them, see `cache.tables`."""

from pathlib import Path

from cache.csv_files import CsvColumn, CsvTable
from cache.tables import COUNT, NAMES, NUMBER, TEXT, Col

REPORTS = Path("reports")  # relative to the project's root

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
        "soundscapes": COUNT,  # with labelled windows
        "sites": COUNT,  # of these, that are known
        "windows": COUNT,
        "window_labels": COUNT,  # heard in them
    },
)
"""One row per fold, -1 first."""

REFUSED = CsvTable(
    REPORTS / "data" / "refused.csv",
    {Col.FILE: TEXT, Col.CODE: TEXT, Col.DETAIL: CsvColumn("text", empty="no more is known"), Col.HINT: TEXT},
)
"""Audio files that are left out, with the class of the reason and the way out; stages `spectrograms` write such too."""

NOTES = CsvTable(REPORTS / "data" / "notes.csv", {Col.FILE: TEXT, Col.NOTE: TEXT, Col.DETAIL: TEXT})
"""Files that are used although something is odd, with the kind of oddity and what was seen or assumed."""

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

WAY = {"data": TEXT, "calibration": TEXT, "fitted_on": TEXT}  # what is calibrated, and how

CALIBRATION = CsvTable(
    REPORTS / "evaluate" / "calibration.csv",
    {**WAY, "used": TEXT, "expected_error": NUMBER, "error_of_all": NUMBER, "log_loss": NUMBER, "brier": NUMBER},
)
"""What each kind of calibration makes of the ensemble's scores of held-out recordings, and of windows."""

RELIABILITY = CsvTable(
    REPORTS / "evaluate" / "reliability.csv", {**WAY, Col.RECORDINGS: COUNT, "mean_score": NUMBER, "accuracy": NUMBER}
)
"""Recordings, or windows, whose best class has a similar score, and how many are right, by kind of calibration."""
