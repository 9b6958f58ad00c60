"""Facts about a data set that `birdcache init` finds without decoding an audio file."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from birdcache.annotations.label_names import LabelNames
from birdcache.annotations.read import read_annotations
from birdcache.audio.decoder import decoder
from birdcache.audio.listing import left_out_lines, list_audio
from birdcache.audio.paths import Bounds
from birdcache.audio.recorded import comment_of
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.suffixes import AUDIO_EXTENSIONS
from birdcache.errors import CommandError
from birdcache.text import counted
from birdcache.user_tables import read_user_table
from cache.report_tables import REFUSED
from cache.tables import Col
from pipeline.dataset import birdclef
from pipeline.dataset.folders import list_soundscapes, read_folders
from pipeline.dataset.metadata import read_taxonomy
from pipeline.dataset.places import read_places
from pipeline.dataset.window_labels import heard_labels, read_windows

SOUNDSCAPES = ("test_soundscapes", "train_soundscapes", "unlabeled_soundscapes")
WINDOWS = {  # the first is this project's, the others are of BirdCLEF 2026 and 2021
    "test_soundscapes_labels.csv": "soundscape_truth",
    "train_soundscapes_labels.csv": "soundscape_labels",
    "train_soundscape_labels.csv": "soundscape_labels",
}
ANNOTATIONS = Path("annotations")
SAMPLE = 50  # recordings whose sample rates are looked at
BACKGROUND = "nocall"  # label of recordings without birds, in BirdCLEF's data and others


@dataclass(frozen=True)
class DataFacts:
    """Size and layout of a data set."""

    layout: str
    root: Path
    per_class: tuple[int, ...]  # number of recordings per class
    background: bool  # whether some recordings have no birds
    ready_folds: int
    soundscapes: str | list[str] | None = None
    soundscape_truth: str | None = None
    soundscape_labels: str | None = None
    window_sites: int = 0  # of soundscapes in soundscape_labels, as names, folders and headers tell them

    @property
    def recordings(self) -> int:
        """Recordings of all classes."""
        return sum(self.per_class)

    @cached_property
    def usual_rate_hz(self) -> int:
        """The most frequent sample rate of some recordings, from 32 to 48 kHz."""
        files = (path for path in self.root.rglob("*") if path.suffix.lower() in AUDIO_EXTENSIONS)
        rates: Counter[int] = Counter()
        for path in islice(files, SAMPLE):
            with suppress(RejectedAudio):
                rates[decoder().info(path).sample_rate_hz] += 1
        return min(max(rates.most_common(1)[0][0], 32_000), 48_000) if rates else 32_000

    @property
    def balanced(self) -> bool:
        """True if classes are so similar in size that weighted sampling would only skip recordings."""
        return max(self.per_class) <= 2 * min(self.per_class)


def birdclef_facts(root: Path) -> DataFacts:
    """Read the facts of a data set as any year's BirdCLEF is downloaded, and tell what was found and is left out."""
    table_path = birdclef.table_path(root, None)
    if not table_path.is_file():
        raise CommandError(f"{root}: --birdclef needs {' or '.join(birdclef.TABLES)} there, and train_audio/")
    bounds = Bounds(root, "anywhere")  # only rows are counted here; data.links is checked by stage recordings
    read = read_user_table(table_path, ["primary_label"], ["fold"], bounds)
    read.refuse([])
    table = read.cells
    folds = table["fold"].nunique() if "fold" in table and (table["fold"] != "").all() else 0
    per_class = table["primary_label"].value_counts().to_dict()
    if not per_class:
        raise CommandError(f"{table_path}: names no recording; add a row with primary_label and filename for each")
    print(f"{table_path.name}: {counted(len(table), 'recordings')} of {counted(len(per_class), 'classes')}")
    found = _soundscapes(root, bounds, {*table["primary_label"]})
    return DataFacts("birdclef", root, tuple(per_class.values()), BACKGROUND in per_class, folds, **found)


def _soundscapes(root: Path, bounds: Bounds, taught: set[str]) -> dict[str, Any]:
    """The fields of DataFacts on soundscapes, and on tables of what is heard in them."""
    there = [name for name in SOUNDSCAPES if (root / name).is_dir()]
    folders = [name for name in there if list_audio(root / name, Bounds(root / name, "anywhere")).used]
    for name in [name for name in there if name not in folders]:
        print(f"{name}/: holds no audio, so is left out")
    soundscapes, _ = list_soundscapes(bounds, folders)
    facts: dict[str, Any] = {"soundscapes": folders[0] if len(folders) == 1 else folders or None}
    labelled: set[str] = set()
    for name, key in ((name, key) for name, key in WINDOWS.items() if (root / name).exists()):
        windows = read_windows(bounds, name, soundscapes, key)
        found, only = {*windows[Col.SOUNDSCAPE]} & {*soundscapes}, sorted(heard_labels(windows) - taught)
        files = [soundscapes[each] for each in sorted(found)]
        inside = [Path(*file.parts[len(root.parts) + 1 :]).with_suffix("").as_posix() for file in files]
        places = read_places(inside, list(map(comment_of, files)), None, print)
        told = f", with {counted(len(only), 'labels')} that no recording has, such as {only[0]}" if only else ""
        left = "" if found else "; is left out, since none is there"
        of = counted(windows[Col.SOUNDSCAPE].nunique(), "soundscapes")
        print(f"{name}: {counted(len(windows), 'windows')} of {of}{told}{left}")
        facts |= {key: name} if found else {}
        facts |= {"window_sites": len({*places[Col.SITE]} - {""})} if key == "soundscape_labels" else {}
        labelled |= found
    if folders:
        of = counted(len(soundscapes), "soundscapes")
        told = f"{', '.join(folders)}: {of}, {len(labelled)} of them in a table of windows"
        rest = len(soundscapes) - len(labelled)
        print(told + f"; {rest} without can teach a noisy student (docs/student.md)" * (rest > 0))
    return facts


def folder_facts(root: Path) -> DataFacts:
    """Read the facts of a data set with one folder of recordings per class, and tell of files that it leaves out."""
    listed = read_folders(Bounds(root, "inside"), (), print)
    told = left_out_lines(listed.files.left_out)
    counts = listed.recordings["label"].value_counts().to_dict()
    if not counts:
        kinds = ", ".join(AUDIO_EXTENSIONS)
        none = f"{root}: holds no audio file at <label>/<file> ({kinds}); --folders needs one folder per class"
        raise CommandError("\n".join([none, *told]))
    print("\n".join([*told, f"{counted(len(listed.recordings), 'recordings')} of {counted(len(counts), 'classes')}"]))
    if told:
        print(f"stage recordings lists what is not used in {REFUSED.path}")
    return DataFacts("folders", root, tuple(counts.values()), BACKGROUND in counts, 0)


def annotation_facts(root: Path) -> DataFacts:
    """Read the facts of a folder of recordings whose labels are in the tables of annotations/."""
    if not root.is_dir():
        raise CommandError(f"{root}: no such folder; --annotations needs the folder of the recordings")
    taxonomy = read_taxonomy(Bounds(root, "anywhere"), pd.DataFrame())
    table = read_annotations(ANNOTATIONS, LabelNames((), taxonomy).label_of, "anywhere")
    if table.empty:
        raise CommandError(f"{ANNOTATIONS}: holds no annotations; put tables there first (docs/annotations.md)")
    counts = table["label"].value_counts().to_dict()
    return DataFacts("annotations", root, tuple(counts.values()), BACKGROUND in counts, 0)
