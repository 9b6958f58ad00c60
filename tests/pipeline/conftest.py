"""Small clips and data sets that the pipeline's tests read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from joblib.externals.loky import get_reusable_executor

from birdcache.audio.decoder import Decoder
from birdcache.params.load import DataParams
from birdcache.storage import Place
from cache.quantize import Codes

WriteClip = Callable[..., Path]
FORMATS = {".ogg": ("OGG", "VORBIS"), ".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", "PCM_16"), ".mp3": ("MP3", None)}


@pytest.fixture
def write_clip() -> WriteClip:
    """A function that writes a clip of tones at `path`; its extension chooses the format."""

    def write(path: Path, seconds: float = 1.0, rate_hz: int = 32000, channels: int = 1, tone_hz: float = 1000) -> Path:
        time_S = np.arange(round(seconds * rate_hz)) / rate_hz
        tones_SC = [0.3 / (channel + 1) * np.sin(2 * np.pi * tone_hz * time_S) for channel in range(channels)]
        container, subtype = FORMATS[path.suffix.lower()]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack(tones_SC, axis=1), rate_hz, format=container, subtype=subtype)
        return path

    return write


@pytest.fixture
def fresh_workers() -> None:
    """Worker processes that start in this test's folder; joblib would lend those of another test."""
    get_reusable_executor().shutdown(wait=True)


@pytest.fixture
def birdclef(tmp_path: Path, write_clip: WriteClip, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in layout `birdclef` at chorus/ of a project's root that is the current directory."""
    monkeypatch.chdir(tmp_path)
    root = Path("chorus")
    Path("annotations").mkdir()
    rows = ["primary_label,secondary_labels,author,rating,latitude,longitude,date,filename"]
    for number, label in enumerate(["robin", "robin", "wren", "wren", "1234"]):
        name = f"{label}/XC{number}.ogg"
        write_clip(root / "train_audio" / name, seconds=1 + number / 4, tone_hz=500 + 100 * number)
        rows.append(f"{label},\"['wren', 'owl']\",ann {number},4.5,51.5,-0.1,2020-05-0{number + 1},{name}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    write_clip(root / "test_soundscapes" / "dawn.ogg", seconds=10, channels=2)
    (root / "truth.csv").write_text("row_id,birds\ndawn_5,nocall\ndawn_10,wren robin\n")
    return root


@pytest.fixture
def data_params() -> Callable[..., DataParams]:
    """A function that gives section data of params.yaml for the fixture `birdclef`, with changes."""

    def make(**changes: object) -> DataParams:
        plain = {
            "layout": "birdclef",
            "root": "chorus",
            "annotations": "annotations",
            "soundscapes": "test_soundscapes",
            "soundscape_truth": "truth.csv",
            "links": "inside",
            "shortest_s": 0.5,
            "longest_s": 60.0,
            "no_end": "refuse",
            "max_refused_share": 1.0,
        }
        return DataParams.model_validate(plain | changes)

    return make


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that were decoded in this process."""
    paths: list[str] = []

    def watched(decoder: Decoder, path: Place, *facts: Any) -> Iterator[Codes]:
        paths.append(str(path))
        return codes(decoder, path, *facts)

    codes = Decoder.codes
    monkeypatch.setattr(Decoder, "codes", watched)
    return paths
