"""The same sound is found whatever its file looks like, and never on both sides of a split."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile

from birdcache.audio.read import BLOCK_SAMPLES, sound_sha256
from birdcache.params import load as parameters
from birdcache.params.sections import DataParams, MachineParams
from pipeline import folds, recordings
from pipeline.dataset import duplicates
from pipeline.dataset.duplicates import same_sounds, with_sounds
from pipeline.dataset.scan import scan_files
from pipeline.synthetic.ogg import with_serial
from tests.fixtures.tiny import ROOT, change_params, tiny_params, write_params

RATE_HZ = 16_000
MakeParams = Callable[..., DataParams]


def noise(seed: int, samples: int = RATE_HZ) -> npt.NDArray[np.float64]:
    """Noise of so many samples, in steps of 16 bits."""
    whole = np.round(np.random.default_rng((seed,)).uniform(-0.3, 0.3, samples) * 2**15)
    return np.asarray(whole / 2**15, np.float64)


def encoded(samples: npt.NDArray[Any], container: str, subtype: str, **tags: str) -> bytes:
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", RATE_HZ, channels, format=container, subtype=subtype) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(samples)
    return buffer.getvalue()


def disguises(seed: int, samples: int = RATE_HZ) -> dict[str, bytes]:
    """One sound in many files, all of other bytes."""
    sound = noise(seed, samples)
    return {
        "plain.wav": encoded(sound, "WAV", "PCM_16"),
        "float.wav": encoded(sound, "WAV", "FLOAT"),
        "wide.wav": encoded(sound, "WAV", "PCM_24"),
        "flac.flac": encoded(sound, "FLAC", "PCM_16"),
        "tagged.flac": encoded(sound, "FLAC", "PCM_16", title="another title", artist="eve"),
        "stereo.wav": encoded(np.stack([sound, sound], axis=1), "WAV", "PCM_16"),
    }


def serials(seed: int) -> dict[str, bytes]:
    """One Ogg file with other serial numbers and tags."""
    content = encoded(noise(seed), "OGG", "VORBIS")
    tagged = encoded(noise(seed), "OGG", "VORBIS", title="another")
    return {
        "one.ogg": with_serial(content, 1),
        "two.ogg": with_serial(content, 2),
        "tagged.ogg": with_serial(tagged, 3),
    }


@pytest.fixture
def machine() -> MachineParams:
    return parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": 1})


@pytest.fixture
def scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_params: MakeParams, machine: MachineParams
) -> Callable[[dict[str, bytes]], pd.DataFrame]:
    """A function that writes files and gives their rows as stage `recordings` has them."""
    monkeypatch.chdir(tmp_path)

    def scan(files: dict[str, bytes]) -> pd.DataFrame:
        for name, content in files.items():
            Path(name).write_bytes(content)
        return scan_files(list(files), data_params(), machine, "test").assign(path=list(files))

    return scan


Scan = Callable[[dict[str, bytes]], pd.DataFrame]


def groups(files: pd.DataFrame, sounds: pd.Series[str]) -> list[list[str]]:
    return sorted(sorted(group) for _, group in files["path"].groupby(sounds.to_numpy()))


def test_one_sound_in_many_files_is_one(scanned: Scan, machine: MachineParams) -> None:
    one, other = disguises(1), {f"other-{name}": content for name, content in disguises(2).items()}
    files = scanned(one | other | serials(3))
    assert (files["code"] == "").all()
    assert files["sha256"].is_unique
    assert groups(files, same_sounds(files, machine)) == sorted([sorted(one), sorted(other), sorted(serials(3))])


def test_sound_is_named_by_the_first_of_its_files(scanned: Scan, machine: MachineParams) -> None:
    files = scanned(disguises(1))
    assert set(same_sounds(files, machine)) == {files["sha256"].min()}
    shuffled = files.sample(frac=1, random_state=1)
    assert list(same_sounds(shuffled, machine)) == [files["sha256"].min()] * len(files)


def test_what_sounds_another_way_is_another_sound(scanned: Scan, machine: MachineParams) -> None:
    sound = noise(1)
    late = sound.copy()
    late[-1] += 2**-15
    others = {
        "plain.wav": encoded(sound, "WAV", "PCM_16"),
        "louder.wav": encoded(sound * 2, "WAV", "PCM_16"),
        "late.wav": encoded(late, "WAV", "PCM_16"),
        "reversed.wav": encoded(sound[::-1].copy(), "WAV", "PCM_16"),
        "longer.wav": encoded(np.append(sound, 0), "WAV", "PCM_16"),
        "lossy.ogg": encoded(sound, "OGG", "VORBIS"),
    }
    files = scanned(others)
    assert list(same_sounds(files, machine)) == list(files["sha256"])


def test_difference_behind_the_first_block_counts(scanned: Scan, machine: MachineParams) -> None:
    sound = noise(1, BLOCK_SAMPLES + 1000)
    late = sound.copy()
    late[BLOCK_SAMPLES + 500] += 2**-15
    files = scanned({name: encoded(each, "WAV", "PCM_16") for name, each in {"a.wav": sound, "b.wav": late}.items()})
    assert list(same_sounds(files, machine)) == list(files["sha256"])
    assert sound_sha256(Path("a.wav"), samples=BLOCK_SAMPLES) == sound_sha256(Path("b.wav"), samples=BLOCK_SAMPLES)
    assert sound_sha256(Path("a.wav")) != sound_sha256(Path("b.wav"))


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    sound = np.array([0.5, 0.0, -0.25] * 9000, np.float32)
    for name, each in (("a.wav", sound), ("b.wav", np.where(sound == 0, np.float32(-0.0), sound))):
        (tmp_path / name).write_bytes(encoded(each, "WAV", "FLOAT"))
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()
    assert sound_sha256(tmp_path / "a.wav") == sound_sha256(tmp_path / "b.wav")


def test_only_what_could_be_the_same_is_decoded(
    scanned: Scan, machine: MachineParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[tuple[str, int | None]] = []
    found = duplicates._sound

    def noted(file: duplicates.Suspect, samples: int | None, base: str) -> str:
        decoded.append((file[0], samples))
        return found(file, samples, base)

    monkeypatch.setattr(duplicates, "_sound", noted)
    lengths = {f"{n}.wav": encoded(noise(n, RATE_HZ + n), "WAV", "PCM_16") for n in range(4)}
    alike = {f"alike {n}.wav": encoded(noise(n), "WAV", "PCM_16") for n in (5, 6)}
    files = scanned(lengths | alike | {"5.flac": encoded(noise(5), "FLAC", "PCM_16")})
    same_sounds(files, machine)
    suspects = ["0.wav", "5.flac", "alike 5.wav", "alike 6.wav"]
    assert sorted(path for path, samples in decoded if samples == duplicates.OPENINGS[0]) == suspects
    assert sorted(path for path, samples in decoded if samples is None) == ["5.flac", "alike 5.wav"]
    assert sorted({samples for _, samples in decoded if samples}) == list(duplicates.OPENINGS)


def test_file_that_does_not_decode_is_only_itself(scanned: Scan, machine: MachineParams) -> None:
    whole, broken = (encoded(noise(1), *form) for form in (("FLAC", "PCM_16"), ("WAV", "FLOAT")))
    broken = broken[:-4] + np.float32(np.nan).tobytes()
    files = scanned({"plain.wav": encoded(noise(1), "WAV", "PCM_16"), "broken.wav": broken, "whole.flac": whole})
    assert (files["code"] == "").all()
    assert groups(files, same_sounds(files, machine)) == [["broken.wav"], ["plain.wav", "whole.flac"]]


def test_silent_files_of_one_length_are_the_same(scanned: Scan, machine: MachineParams) -> None:
    silence = np.zeros(RATE_HZ)
    files = scanned({"a.wav": encoded(silence, "WAV", "PCM_16"), "b.flac": encoded(silence, "FLAC", "PCM_16")})
    assert len(set(same_sounds(files, machine))) == 1


def test_refused_files_have_no_sound(scanned: Scan, machine: MachineParams) -> None:
    files = scanned(disguises(1) | {"empty.ogg": b""})
    (table,) = with_sounds([files], machine)
    assert list(table["sound"] == "") == [False] * 6 + [True]
    (none,) = with_sounds([files[files["code"] != ""]], machine)
    assert list(none["sound"]) == [""]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of 30 recordings in three labels, with one sound in two labels and one sound twice in one."""
    monkeypatch.chdir(tmp_path)
    rows = ["primary_label,filename,author,fold"]
    for number in range(30):
        label = ("wren", "owl", "robin")[number % 3]
        write(f"{label}/{number}.wav", encoded(noise(number, RATE_HZ + 10 * number), "WAV", "PCM_16"))
        rows.append(f"{label},{label}/{number}.wav,author {number},{number % 2}")
    write("owl/planted.flac", encoded(noise(0), "FLAC", "PCM_16"))
    write("robin/planted.wav", encoded(np.stack([noise(2, RATE_HZ + 20)] * 2, axis=1), "WAV", "PCM_16"))
    rows += ["owl,owl/planted.flac,eve,1", "robin,robin/planted.wav,mallory,1"]
    Path("chorus/train.csv").write_text("\n".join(rows) + "\n")
    raw = tiny_params("chorus")
    raw["data"] |= {"soundscapes": None, "soundscape_truth": None}
    write_params(Path("params.yaml"), raw)
    return tmp_path


def write(name: str, content: bytes, folder: str = "train_audio") -> None:
    path = Path("chorus") / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def split(stages: Sequence[Any] = (recordings, folds)) -> pd.Series[int]:
    """The fold of each recording, by the stages themselves."""
    for stage in stages:
        stage.main()
    return pd.read_csv("data/folds.csv").set_index("recording")["fold"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("planted")
def test_planted_duplicate_never_crosses_folds(seed: int) -> None:
    change_params(folds={"use_ready": False, "seed": seed})
    fold = split()
    assert fold["owl/planted.flac"] == fold["wren/0.wav"] >= 0
    assert fold["robin/planted.wav"] == fold["robin/2.wav"] >= 0
    assert json.loads(Path("reports/folds/summary.json").read_text())["crossing_sounds"] == []


@pytest.mark.usefixtures("planted")
def test_without_a_look_at_sounds_a_planted_duplicate_does_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        recordings, "with_sounds", lambda tables, machine: [t.assign(sound=t["sha256"]) for t in tables]
    )
    crossed = []
    for seed in range(5):
        change_params(folds={"use_ready": False, "seed": seed})
        fold = split()
        crossed.append(fold["owl/planted.flac"] != fold["wren/0.wav"])
    assert any(crossed)


@pytest.mark.usefixtures("planted")
def test_duplicates_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write("dawn.flac", encoded(noise(5, RATE_HZ + 50), "FLAC", "PCM_16"), "test_soundscapes")
    change_params(data={"soundscapes": "test_soundscapes"}, folds={"use_ready": False})
    recordings.main()
    report = json.loads(Path("reports/data/summary.json").read_text())
    across, within = ["owl/planted.flac", "wren/0.wav"], ["robin/2.wav", "robin/planted.wav"]
    assert report["contents"] == {
        "distinct": 30,
        "duplicates": [across, within],
        "across_labels": [across],
        "also_soundscapes": {"dawn": ["robin/5.wav"]},
    }
    said = capsys.readouterr().out
    assert "WARNING: 1 sound has several labels, first owl/planted.flac and wren/0.wav" in said
    assert "WARNING: recordings too: 1 soundscape, first dawn" in said


@pytest.mark.usefixtures("planted")
def test_ready_folds_stay_and_their_crossing_sounds_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    change_params(folds={"use_ready": True})
    fold = split()
    assert (fold["owl/planted.flac"], fold["wren/0.wav"]) == (1, 0)
    report = json.loads(Path("reports/folds/summary.json").read_text())
    assert report["crossing_sounds"][0] == {"owl/planted.flac": 1, "wren/0.wav": 0}
    assert len(report["crossing_sounds"]) == 2
    assert "WARNING: 2 sounds cross folds, first owl/planted.flac and wren/0.wav" in capsys.readouterr().out
