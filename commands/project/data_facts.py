"""Facts about a data set that `birdcache init` finds without opening an audio file."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from birdcache.annotations.label_names import LabelNames
from birdcache.annotations.read import read_annotations
from birdcache.audio.listing import left_out_lines, list_audio
from birdcache.audio.paths import Bounds
from birdcache.audio.suffixes import AUDIO_EXTENSIONS
from birdcache.errors import CommandError
from birdcache.user_tables import read_user_table
from cache.report_tables import REFUSED
from pipeline.dataset.folders import read_folders
from pipeline.dataset.metadata import read_taxonomy

TRUTH = "test_soundscapes_labels.csv"
ANNOTATIONS = Path("annotations")
BACKGROUND = "nocall"  # label of recordings without birds, in BirdCLEF's data and others


@dataclass(frozen=True)
class DataFacts:
    """Size and layout of a data set."""

    layout: str
    root: Path
    per_class: tuple[int, ...]  # number of recordings per class
    background: bool  # whether some recordings have no birds
    ready_folds: int
    soundscapes: str | None
    truth: str | None

    @property
    def recordings(self) -> int:
        """Recordings of all classes."""
        return sum(self.per_class)

    @property
    def balanced(self) -> bool:
        """True if classes are so similar in size that weighted sampling would only skip recordings."""
        return max(self.per_class) <= 2 * min(self.per_class)


def birdclef_facts(root: Path) -> DataFacts:
    """Read the facts of a data set in BirdCLEF's layout."""
    table_path = root / "train.csv"
    if not table_path.is_file():
        raise CommandError(f"{table_path}: no such file; --birdclef needs a folder with train.csv and train_audio/")
    bounds = Bounds(root, "anywhere")  # only rows are counted here; data.links is checked by stage recordings
    read = read_user_table(table_path, ["primary_label"], ["fold"], bounds)
    read.refuse([])
    table = read.cells
    folds = table["fold"].nunique() if "fold" in table and (table["fold"] != "").all() else 0
    soundscapes = "test_soundscapes" if _has_audio(root / "test_soundscapes") else None
    if soundscapes is None and _has_audio(root / "train_soundscapes"):
        print("train_soundscapes/ is not used; to predict it as well, set data.soundscapes: train_soundscapes")
    truth = TRUTH if soundscapes and (root / TRUTH).is_file() else None
    per_class = table["primary_label"].value_counts().to_dict()
    if not per_class:
        raise CommandError(f"{table_path}: names no recording; add a row with primary_label and filename for each")
    return DataFacts("birdclef", root, tuple(per_class.values()), BACKGROUND in per_class, folds, soundscapes, truth)


def folder_facts(root: Path) -> DataFacts:
    """Read the facts of a data set with one folder of recordings per class, and tell of files that it leaves out."""
    listed = read_folders(Bounds(root, "inside"), (), print)
    told = left_out_lines(listed.files.left_out)
    counts = listed.recordings["label"].value_counts().to_dict()
    if not counts:
        kinds = ", ".join(AUDIO_EXTENSIONS)
        none = f"{root}: holds no audio file at <label>/<file> ({kinds}); --folders needs one folder per class"
        raise CommandError("\n".join([none, *told]))
    print("\n".join([*told, f"{len(listed.recordings)} recordings of {len(counts)} classes"]))
    if told:
        print(f"stage recordings lists what is not used in {REFUSED.path}")
    return DataFacts("folders", root, tuple(counts.values()), BACKGROUND in counts, 0, None, None)


def annotation_facts(root: Path) -> DataFacts:
    """Read the facts of a folder of recordings whose labels are in the tables of annotations/."""
    if not root.is_dir():
        raise CommandError(f"{root}: no such folder; --annotations needs the folder of the recordings")
    taxonomy = read_taxonomy(Bounds(root, "anywhere"), pd.DataFrame())
    table = read_annotations(ANNOTATIONS, LabelNames((), taxonomy).label_of, "anywhere")
    if table.empty:
        raise CommandError(f"{ANNOTATIONS}: holds no annotations; put tables there first (docs/annotations.md)")
    counts = table["label"].value_counts().to_dict()
    return DataFacts("annotations", root, tuple(counts.values()), BACKGROUND in counts, 0, None, None)


def _has_audio(folder: Path) -> bool:
    return folder.is_dir() and bool(list_audio(folder, Bounds(folder, "anywhere")).used)
