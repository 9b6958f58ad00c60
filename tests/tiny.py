"""A project small enough to run whole in a test: three species of tones, eighteen recordings, tiny views and models."""

from __future__ import annotations

import copy
import functools
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from ruamel.yaml import YAML

from birdcache.params.recipe import completed
from pipeline.synthetic.ogg import SERIAL, with_serial

ROOT = Path(__file__).parent.parent
RATE_HZ = 16000
SPECIES = {"lowton": 500.0, "midton": 1500.0, "higton": 4000.0}
RECORDINGS_EACH = 6


def song(tone_hz: float, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Beeps of one pitch in faint noise."""
    time_S = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    beeps_S = np.sin(2 * np.pi * tone_hz * rng.uniform(0.95, 1.05) * time_S) * (np.sin(2 * np.pi * 3 * time_S) > 0)
    return (0.2 * beeps_S + 0.01 * rng.standard_normal(len(time_S))).astype(np.float32)


def write_audio(path: Path, waveform_S: npt.NDArray[np.float32]) -> None:
    """Write Ogg Vorbis, the same bytes for the same waveform: parts of a store follow from them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform_S, RATE_HZ, format="OGG", subtype="VORBIS")
    path.write_bytes(with_serial(buffer.getvalue(), SERIAL))


def write_data(root: Path) -> None:
    """A data set in BirdCLEF's layout: train.csv, train_audio/, one soundscape of 20 s and its truth."""
    rng = np.random.default_rng(1)
    rows = ["primary_label,secondary_labels,author,rating,filename"]
    for label, tone_hz in SPECIES.items():
        for number in range(RECORDINGS_EACH):
            name = f"{label}/XC{number}.ogg"
            write_audio(root / "train_audio" / name, song(tone_hz, 1.5 + number / 2, rng))
            other = "['midton']" if (label, number) == ("lowton", 0) else "[]"
            rows.append(f'{label},"{other}",{label} {number},4,{name}')
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    parts = [song(SPECIES["lowton"], 10, rng), song(SPECIES["higton"], 10, rng)]
    write_audio(root / "test_soundscapes" / "dawn.ogg", np.concatenate(parts))
    truth = ["row_id,birds", "dawn_5,lowton", "dawn_10,lowton", "dawn_15,higton", "dawn_20,higton"]
    (root / "test_soundscapes_labels.csv").write_text("\n".join(truth) + "\n")
    (root / "sample_submission.csv").write_text("row_id,midton,lowton,higton\ndawn_5,0.3,0.3,0.3\n")


@functools.cache
def parsed() -> dict[str, Any]:
    """The shipped params.yaml, parsed once."""
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    return raw


def shipped_params() -> dict[str, Any]:
    """The shipped params.yaml with one complete recipe, `demo`: what its members are trained with."""
    raw = copy.deepcopy(parsed())
    (name,) = {member["recipe"] for member in raw["members"].values()}
    raw["train"] = {"demo": completed(name, raw["train"])}
    for member in raw["members"].values():
        member["recipe"] = "demo"
    raw["ladder"] |= {"folds": [0], "rungs": {}, "ensemble": {}, "ablations": {}}
    return raw


def tiny_params(data_root: str) -> dict[str, Any]:
    """The shipped params.yaml, made tiny."""
    raw = shipped_params()
    raw["demo"] = {}
    raw["data"]["root"] = data_root
    del raw["views"]["long"]
    for view in raw["views"].values():
        view |= {"sample_rate_hz": RATE_HZ, "n_fft": 512, "hop": 256, "n_mels": 32, "fmax_hz": RATE_HZ // 2}
    raw["folds"] |= {"count": 2, "train": [0, 1]}
    recipe = raw["train"]["demo"]
    recipe |= {"epochs": 3, "batch_size": 4, "clip_s": 1.0}
    recipe["optimiser"] |= {"lr": 0.01, "warmup_epochs": 1}
    recipe["augment"]["spec_augment"] |= {"mel_width": 4, "time_width": 6}
    for member in raw["members"].values():
        member |= {"backbone": "test_efficientnet"}
    raw["export"] |= {"compare": 3}
    raw["machine"] |= {"workers": 1, "device": "cpu"}
    return raw


def write_params(path: Path, raw: dict[str, Any]) -> None:
    """Write a params file, beside a folder for annotations as each project has."""
    annotations = path.parent / "annotations"
    annotations.mkdir(exist_ok=True)
    shutil.copy(ROOT / annotations.name / "README.md", annotations)
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(raw, stream)
    path.write_text(stream.getvalue())


def change_params(**sections: dict[str, Any]) -> None:
    """Change keys of sections of the params.yaml of the current directory."""
    raw = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    for section, keys in sections.items():
        raw[section] |= keys
    write_params(Path("params.yaml"), raw)
