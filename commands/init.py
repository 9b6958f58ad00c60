"""`birdcache init`: a params.yaml for the demo, for BirdCLEF's layout, or for one folder per class."""

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

import params
from commands.errors import CommandError

NULL_TAG = "tag:yaml.org,2002:null"
TEMPLATE = Path(__file__).with_name("template.yaml")
AUDIO_EXTENSIONS = (".ogg", ".wav", ".flac", ".mp3")
TRUTH = "test_soundscapes_labels.csv"
SMALL = 2000  # recordings; below it a small network and more epochs
DEFAULT_FOLDS = 5


@dataclass(frozen=True)
class DataFacts:
    """What `init` sees of a data set without opening an audio file."""

    layout: str
    root: Path
    per_class: tuple[int, ...]  # recordings of each
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
        facts = look_at_birdclef(arguments.birdclef) if arguments.birdclef else look_at_folders(arguments.folders)
        content = filled_template(facts, arguments.backbone, arguments.pretrained)
    write_params(params.DEFAULT_PATH, content)
    params.load()
    print("next: dvc repro")


def look_at_birdclef(root: Path) -> DataFacts:
    """Facts of a data set in BirdCLEF's layout."""
    table_path = root / "train.csv"
    if not table_path.is_file():
        raise CommandError(f"{table_path}: no such file; --birdclef needs a folder with train.csv and train_audio/")
    table = pd.read_csv(table_path, dtype=str, keep_default_na=False)
    folds = table["fold"].nunique() if "fold" in table and (table["fold"] != "").all() else 0
    soundscapes = "test_soundscapes" if _has_audio(root / "test_soundscapes") else None
    if soundscapes is None and _has_audio(root / "train_soundscapes"):
        print("train_soundscapes/ is left out; to predict it too, set data.soundscapes: train_soundscapes")
    truth = TRUTH if soundscapes and (root / TRUTH).is_file() else None
    per_class = tuple(table["primary_label"].value_counts().tolist()) if "primary_label" in table else ()
    if not per_class:
        raise CommandError(f"{table_path}: names no recording; it needs rows with primary_label and filename")
    return DataFacts("birdclef", root, per_class, folds, soundscapes, truth)


def look_at_folders(root: Path) -> DataFacts:
    """Facts of a data set with one folder of recordings per class."""
    counts = Counter(path.parent for path in root.glob("*/*") if path.suffix.lower() in AUDIO_EXTENSIONS)
    if not counts:
        kinds = ", ".join(AUDIO_EXTENSIONS)
        raise CommandError(f"{root}: holds no <label>/<file> with {kinds}; --folders needs one folder per class")
    return DataFacts("folders", root, tuple(counts.values()), 0, None, None)


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
    del document["views"]["pcen"], document["members"]["pcen"]
    _fill_member(document, facts, backbone, pretrained)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _fill_member(document: Any, facts: DataFacts, backbone: str | None, pretrained: str | None) -> None:
    weights = _weights(facts, backbone, pretrained)
    default = "mobilenetv3_small_100" if facts.recordings < SMALL else "efficientnet_b0"
    found = Path(weights).stem if isinstance(weights, str) and pretrained is None else default
    document["members"]["base"] |= {"backbone": backbone or found, "pretrained": weights}
    recipes = document["train"]
    recipes["regularised"]["sampling"]["weighted"] = not facts.balanced
    if weights:
        _fill_finetuning(recipes["baseline"], recipes["regularised"])
    elif facts.recordings < SMALL:
        recipes["baseline"]["epochs"] = 40


def _fill_finetuning(baseline: Any, recipe: Any) -> None:
    """A pretrained network: a smaller rate, and much augmentation against learning the recordings by heart."""
    baseline["epochs"] = 16
    recipe["optimiser"] |= {"lr": 1.0e-3, "warmup_epochs": 1}
    recipe["augment"]["time_shift_s"] = baseline["clip_s"] / 2
    recipe["augment"]["mixup"]["probability"] = 1.0


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
