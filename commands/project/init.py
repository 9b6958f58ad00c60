"""`birdcache init`: a params.yaml for the demo, for BirdCLEF's layout, one folder per class, or annotated times."""

from __future__ import annotations

import argparse
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from birdcache.annotations.label_names import LabelNames
from birdcache.annotations.read import read_annotations
from birdcache.audio.paths import Bounds
from birdcache.errors import CommandError
from birdcache.params import load as params
from birdcache.user_tables import read_user_table
from pipeline.dataset.metadata import read_taxonomy

NULL_TAG = "tag:yaml.org,2002:null"
TEMPLATE = Path(__file__).parents[1] / "template.yaml"
AUDIO_EXTENSIONS = (".ogg", ".wav", ".flac", ".mp3")
TRUTH = "test_soundscapes_labels.csv"
SMALL = 2000  # recordings; below it a small network and more epochs
DEFAULT_FOLDS = 5
ANNOTATIONS = Path("annotations")
BACKGROUND = "nocall"  # label of recordings without birds, in BirdCLEF's data and others


@dataclass(frozen=True)
class DataFacts:
    """What `init` sees of a data set without opening an audio file."""

    layout: str
    root: Path
    per_class: tuple[int, ...]  # recordings of each
    background: bool  # whether some are without birds
    ready_folds: int
    soundscapes: str | None
    truth: str | None

    @property
    def recordings(self) -> int:
        """Recordings of all classes."""
        return sum(self.per_class)

    @property
    def balanced(self) -> bool:
        """Whether classes are so alike in size that weights would only skip recordings."""
        return max(self.per_class) <= 2 * min(self.per_class)


def run(arguments: argparse.Namespace) -> None:
    """Write params.yaml; one that is already there is kept as params.yaml.bak.

    Raises
    ------
    CommandError
        If the folder does not hold what its layout needs.
    """
    if arguments.demo:
        content = TEMPLATE.read_text(encoding="utf-8")
    else:
        content = filled_template(_look(arguments), arguments.backbone, arguments.pretrained)
    write_params(params.DEFAULT_PATH, content)
    params.load()
    print("next: dvc repro")


def _look(arguments: argparse.Namespace) -> DataFacts:
    if arguments.birdclef:
        return look_at_birdclef(arguments.birdclef)
    return look_at_folders(arguments.folders) if arguments.folders else look_at_annotations(arguments.annotations)


def look_at_birdclef(root: Path) -> DataFacts:
    """Facts of a data set in BirdCLEF's layout."""
    table_path = root / "train.csv"
    if not table_path.is_file():
        raise CommandError(f"{table_path}: no such file; --birdclef needs a folder with train.csv and train_audio/")
    bounds = Bounds(root, "anywhere")  # data.links decides later; here only rows are counted
    read = read_user_table(table_path, ["primary_label"], ["fold"], bounds)
    read.refuse([])
    table = read.cells
    folds = table["fold"].nunique() if "fold" in table and (table["fold"] != "").all() else 0
    soundscapes = "test_soundscapes" if _has_audio(root / "test_soundscapes") else None
    if soundscapes is None and _has_audio(root / "train_soundscapes"):
        print("train_soundscapes/ is left out; to predict it too, set data.soundscapes: train_soundscapes")
    truth = TRUTH if soundscapes and (root / TRUTH).is_file() else None
    per_class = table["primary_label"].value_counts().to_dict()
    if not per_class:
        raise CommandError(f"{table_path}: names no recording; it needs rows with primary_label and filename")
    return DataFacts("birdclef", root, tuple(per_class.values()), BACKGROUND in per_class, folds, soundscapes, truth)


def look_at_folders(root: Path) -> DataFacts:
    """Facts of a data set with one folder of recordings per class."""
    counts = Counter(path.parent.name for path in root.glob("*/*") if path.suffix.lower() in AUDIO_EXTENSIONS)
    if not counts:
        kinds = ", ".join(AUDIO_EXTENSIONS)
        raise CommandError(f"{root}: holds no <label>/<file> with {kinds}; --folders needs one folder per class")
    return DataFacts("folders", root, tuple(counts.values()), BACKGROUND in counts, 0, None, None)


def look_at_annotations(root: Path) -> DataFacts:
    """Facts of a folder of recordings that only the tables in annotations/ tell of."""
    if not root.is_dir():
        raise CommandError(f"{root}: no such folder; --annotations needs the folder of the recordings")
    taxonomy = read_taxonomy(Bounds(root, "anywhere"), pd.DataFrame())
    table = read_annotations(ANNOTATIONS, LabelNames((), taxonomy).label_of, "anywhere")
    if table.empty:
        raise CommandError(f"{ANNOTATIONS}: holds no annotation; put tables there first (docs/annotations.md)")
    counts = table["label"].value_counts().to_dict()
    return DataFacts("annotations", root, tuple(counts.values()), BACKGROUND in counts, 0, None, None)


def filled_template(facts: DataFacts, backbone: str | None, pretrained: str | None) -> str:
    """The template's text with the values that fit the data; all comments stay."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 200, True
    yaml.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar(NULL_TAG, "null"))
    document: Any = yaml.load(TEMPLATE.read_text(encoding="utf-8"))
    document.ca.items.pop("demo")  # its comment would stand between the key and the {}
    document["demo"] = {}
    document["data"] |= {
        "layout": facts.layout,
        "root": Path(os.path.relpath(facts.root)).as_posix(),
        "soundscapes": facts.soundscapes,
        "soundscape_truth": facts.truth,
    }
    folds = facts.ready_folds or DEFAULT_FOLDS
    document["folds"]["count"] = folds
    document["folds"]["train"][:] = list(range(folds))
    del document["views"]["pcen"], document["views"]["long"], document["members"]["pcen"]
    weights = _weights(facts, backbone, pretrained)
    _fill_members(document, facts, backbone, weights, given=pretrained is not None)
    _fill_recipes(document["train"], facts, bool(weights))
    _fill_ladder(document["ladder"], facts, bool(weights))
    _fill_student(document["student"], facts)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _fill_members(document: Any, facts: DataFacts, backbone: str | None, weights: bool | str, given: bool) -> None:
    default = "mobilenetv3_small_100" if facts.recordings < SMALL else "efficientnet_b0"
    found = Path(weights).stem if isinstance(weights, str) and not given else default
    for member in (
        document["members"]["base"],
        document["ladder"]["rungs"]["baseline"],
    ):  # other rungs are like the first
        member |= {"backbone": backbone or found, "pretrained": weights}


def _fill_recipes(recipes: Any, facts: DataFacts, finetuned: bool) -> None:
    for name in ("balanced", "regularised", "strong", "winner"):
        recipes[name]["sampling"]["weighted"] = not facts.balanced
    if facts.background:
        for name in ("strong", "winner"):
            recipes[name]["augment"]["background"] = {"probability": 0.5, "label": BACKGROUND}
    if finetuned:
        _fill_finetuning(recipes, facts)
    elif facts.recordings < SMALL:
        recipes["baseline"]["epochs"] = 40


def _fill_finetuning(recipes: Any, facts: DataFacts) -> None:
    """A pretrained network: a smaller rate, and much augmentation against learning the recordings by heart."""
    baseline, regularised = recipes["baseline"], recipes["regularised"]
    baseline["epochs"] = 16
    regularised["optimiser"] |= {"lr": 1.0e-3, "warmup_epochs": 1}
    regularised["augment"]["time_shift_s"] = baseline["clip_s"] / 2
    regularised["augment"]["mixup"]["probability"] = 1.0
    for name in ("strong", "winner"):
        recipe = recipes[name]
        recipe["epochs"] = 20
        recipe["optimiser"] |= {"lr": 1.0e-3, "warmup_epochs": 1, "layer_decay": 0.8}
        if facts.recordings >= SMALL:  # so many steps that a smaller rate gets there, and a slower mean is fast enough
            recipe["optimiser"]["lr"] = 5.0e-4
    recipes["winner"]["optimiser"]["ema_decay"] = 0.98 if facts.recordings < SMALL else 0.999


def _fill_student(student: Any, facts: DataFacts) -> None:
    """Rounds as long as the members' own trainings, whose gain is measured by what truth there is."""
    student["gain_in"] = "soundscapes" if facts.truth else "out_of_fold"
    for each in student["rounds"].values():
        each["override"] = {}


def _fill_ladder(ladder: Any, facts: DataFacts, finetuned: bool) -> None:
    """Rungs on the one view; of the ablations those that take something away, and none where each costs hours."""
    del ladder["rungs"]["long"]
    ladder["rungs"]["winner"]["override"] = {}  # of the demo's birds mostly one sings
    ladder["ensemble"]["ensemble"][:] = ["strong", "winner"]
    ladder["folds"][:] = [0]
    if facts.recordings >= SMALL:
        ladder.ca.items.pop("ablations")  # its comment would stand between the key and the {}
        ladder["ablations"] = {}
        return
    ladder["ablations"]["cross_entropy"] = ladder["ablations"].pop("bce")
    ladder["ablations"]["cross_entropy"]["without"]["override"]["loss"]["kind"] = "ce"
    for name in ["even_sampling"] * facts.balanced + ["rate_of_baseline"] * finetuned:
        del ladder["ablations"][name]


def _weights(facts: DataFacts, backbone: str | None, pretrained: str | None) -> bool | str:
    """What `pretrained` says; without it, weights in a folder `weights/` near by."""
    if pretrained in ("true", "false"):
        return pretrained == "true"
    if pretrained is not None:
        return pretrained
    for folder in (Path(), facts.root, facts.root / "..", facts.root / "../.."):
        for path in sorted((folder / "weights").glob(f"{backbone or '*'}.safetensors")):
            relative = Path(os.path.relpath(path)).as_posix()
            print(f"found weights: {relative}")
            return relative
    return False


def _has_audio(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in AUDIO_EXTENSIONS for path in folder.iterdir())


def write_params(path: Path, content: str) -> None:
    """Write params.yaml, keeping another one that was there beside it."""
    if path.exists() and path.read_text(encoding="utf-8") != content:
        backup = path.with_name(path.name + ".bak")
        path.replace(backup)
        print(f"the old {path} is now {backup}")
    path.write_text(content, encoding="utf-8")
    print(f"wrote {path}")
