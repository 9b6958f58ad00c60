"""The tables that stages read: each defined once, read and written through its definition.

`LABELS.read()` gives a typed frame, `LABELS.write(frame)` writes one; columns are named by `Col`. Tables of reports are
in `cache.report_tables`, so that a change there trains nothing again.
"""

from pathlib import Path

from cache.csv_files import CsvColumn, CsvTable

DATA = Path("data")  # relative to the project's root, as all paths here
TEXT, NUMBER, COUNT = CsvColumn("text"), CsvColumn("number"), CsvColumn("count")


class Col:
    """Names of columns, each spelt once."""

    AUTHOR = "author"
    AVERAGE_PRECISION = "average_precision"
    CHANNELS = "channels"
    CLASS_NAME = "class_name"
    CODE = "code"
    COLUMN = "column"
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
    KNOWS = "knows"
    LABEL = "label"
    LABELS = "labels"
    LATITUDE = "latitude"
    LONGITUDE = "longitude"
    NOTE = "note"
    PATH = "path"
    PREDICTED = "predicted"
    RATING = "rating"
    READ_AS = "read_as"
    RECORDING = "recording"
    RECORDINGS = "recordings"
    ROC_AUC = "roc_auc"
    ROW_ID = "row_id"
    SAMPLE_RATE_HZ = "sample_rate_hz"
    SCIENTIFIC_NAME = "scientific_name"
    SECONDARY = "secondary"
    SHA256 = "sha256"
    SITE = "site"
    SOUND = "sound"
    SOUNDSCAPE = "soundscape"
    SOURCE = "source"
    START_S = "start_s"
    TIME = "time"
    VALIDATED = "validated"
    WEIGHT = "weight"


NAMED = CsvColumn("text", empty="not in the taxonomy")
NAMES = {Col.SCIENTIFIC_NAME: NAMED, Col.COMMON_NAME: NAMED, Col.CLASS_NAME: NAMED}

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
        Col.SOURCE: CsvColumn("text", empty="data.root", newer=True),  # a name of data.sources
    },
)
"""The recordings to train on, sorted by their name."""

SOURCES = CsvTable(
    DATA / "tables" / "sources.csv",
    {Col.SOURCE: TEXT, Col.WEIGHT: NUMBER, Col.KNOWS: CsvColumn("text", empty="all classes"), Col.VALIDATED: COUNT},
)
"""The sources beside data.root: factor of how often they are drawn, known classes parted by ;, 0 if never validated."""

CONTENT = {
    Col.SHA256: TEXT,
    Col.PATH: TEXT,
    Col.DURATION_S: NUMBER,
    Col.READ_AS: CsvColumn("text", empty="as most are", newer=True),  # as birdcache.audio.read.AudioInfo has it
}

AUDIO = CsvTable(DATA / "tables" / "audio.csv", CONTENT)
"""The distinct contents of the recordings, each at the first path or URL that holds it, sorted by hash."""

LABELS = CsvTable(DATA / "tables" / "labels.csv", {Col.INDEX: COUNT, Col.LABEL: TEXT, **NAMES, Col.RECORDINGS: COUNT})
"""The classes in the order of all scores, with the number of recordings that have the label or an annotation of it."""

ANNOTATIONS = CsvTable(
    DATA / "tables" / "annotations.csv", {Col.RECORDING: TEXT, Col.START_S: NUMBER, Col.END_S: NUMBER, Col.LABEL: TEXT}
)
"""The annotated times of usable recordings, in order of recording and time."""

PLACE = {
    Col.SITE: CsvColumn("text", empty="unknown", newer=True),
    Col.DATE: CsvColumn("text", empty="unknown", newer=True),  # YYYY-MM-DD, of its start
    Col.TIME: CsvColumn("text", empty="unknown", newer=True),  # HH:MM:SS, of its start, by the recorder's clock
}

SOUNDSCAPES = CsvTable(
    DATA / "tables" / "soundscapes.csv",
    {**CONTENT, Col.SOUNDSCAPE: TEXT, **PLACE, Col.SOUND: CsvColumn("text", empty="as it is", newer=True)},
)
"""The soundscapes to predict, sorted by name; the name is that of the file without extension."""

WINDOWS = CsvTable(
    DATA / "tables" / "windows.csv",
    {
        Col.SOUNDSCAPE: TEXT,
        Col.START_S: NUMBER,
        Col.END_S: NUMBER,
        Col.LABELS: CsvColumn("text", empty="nothing sings"),
    },
)
"""Labelled windows of usable soundscapes that teach and examine (data.soundscape_labels), in order of name and time."""

SOUNDSCAPE_TRUTH = CsvTable(
    DATA / "tables" / "soundscape_truth.csv", {Col.ROW_ID: TEXT, Col.LABELS: CsvColumn("text", empty="nothing sings")}
)
"""Labels heard in windows of soundscapes, separated by spaces; a row id is <soundscape>_<second the window ends>."""

SUBMISSION_LABELS = CsvTable(
    DATA / "tables" / "submission_labels.csv",
    {Col.LABEL: TEXT, Col.COLUMN: CsvColumn("text", empty="a column for each", newer=True)},  # birds, or target
)
"""The labels of a submission in their order, and the one column that stood for all of them in 2021 and 2022."""

FOLDS = CsvTable(DATA / "folds.csv", {Col.RECORDING: TEXT, Col.FOLD: COUNT, Col.GROUP: COUNT})
"""The fold that validates each recording, from 0, or -1: none does; recordings of a group belong together."""

SOUNDSCAPE_FOLDS = CsvTable(
    DATA / "soundscape_folds.csv",
    {Col.SOUNDSCAPE: TEXT, Col.SHA256: TEXT, Col.DURATION_S: NUMBER, **PLACE, Col.FOLD: COUNT, Col.GROUP: COUNT},
)
"""As `FOLDS`, for the soundscapes with labelled windows (`WINDOWS`), sorted by name."""
