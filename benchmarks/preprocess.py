"""What preprocessing costs beyond decoding, with how many workers, for how little change, and on how many bytes.

Rates compare arms that take turns in one process on one core, at their best; see docs/benchmarks.md for the keys.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from threadpoolctl import threadpool_limits

from benchmarks import building, songs
from benchmarks.timing import best, interleaved, parse_arguments, report
from birdcache.audio.read import RESAMPLER_QUALITY, waveform_blocks
from birdcache.audio.samples import SampleCheck
from birdcache.audio.validate import probe
from birdcache.params import load as params
from birdcache.params.views import MelView, PcenView
from pipeline.build.frontend import room, spectrogram_blocks

SECONDS, RATE_HZ, OTHER_RATE_HZ = 120, 32000, 44100
READ_SAMPLES = 2**16


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    views = params.load(Path(__file__).parent.parent / "params.yaml").views
    with tempfile.TemporaryDirectory() as folder:
        numbers = rates(Path(folder), views, arguments.rounds)
        numbers |= building.measure(Path(folder), views["mel"])
    report(numbers, arguments.json)


def rates(folder: Path, views: Mapping[str, MelView | PcenView], rounds: int) -> dict[str, float]:
    """Rates of each arm in multiples of real time, and as shares of decoding alone."""
    plain, other = (
        songs.write_song(folder / f"{rate_hz}.ogg", SECONDS, rate_hz) for rate_hz in (RATE_HZ, OTHER_RATE_HZ)
    )
    decoded = [*waveform_blocks(plain, RATE_HZ)]
    arms: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(plain),
        "mel": lambda: compute(plain, views["mel"]),
        "pcen": lambda: compute(plain, views["pcen"]),
        "gate": lambda: guard(plain, decoded),
        "librosa": lambda: librosa_mel(plain, views["mel"]),
        "decode_soxr": lambda: decode_and_resample(other),
        "mel_soxr": lambda: compute(other, views["mel"]),
    }
    with threadpool_limits(1):
        seconds = {name: best(each) for name, each in interleaved(arms, rounds).items()}
    numbers = {f"{name}_x_realtime": SECONDS / each for name, each in seconds.items()}
    numbers |= {f"{name}_vs_decode": seconds["decode"] / seconds[name] for name in ("mel", "pcen", "librosa")}
    numbers["gate_share_of_mel"] = seconds["gate"] / seconds["mel"]
    numbers["mel_vs_decode_soxr"] = seconds["decode_soxr"] / seconds["mel_soxr"]
    return numbers


def decode(path: Path) -> None:
    """Decoding alone: soundfile, block by block."""
    with soundfile.SoundFile(path) as file:
        while len(file.read(READ_SAMPLES, dtype="float32")):
            pass


def decode_and_resample(path: Path) -> None:
    """Decoding and soxr alone, block by block."""
    with soundfile.SoundFile(path) as file:
        stream = soxr.ResampleStream(file.samplerate, RATE_HZ, 1, dtype="float32", quality=RESAMPLER_QUALITY)
        while len(block_S := file.read(READ_SAMPLES, dtype="float32")):
            stream.resample_chunk(block_S)
        stream.resample_chunk(block_S, last=True)


def compute(path: Path, view: MelView | PcenView) -> None:
    """Decoding and the whole front end, block by block."""
    for _ in spectrogram_blocks(waveform_blocks(path, RATE_HZ, room=room(view)), view):
        pass


def guard(path: Path, decoded: Sequence[npt.NDArray[np.float32]]) -> None:
    """The gate alone: the walk over the file before it is decoded, and the look at what came out."""
    with path.open("rb", buffering=0) as file:
        promise = probe(file)
    check = SampleCheck(promise.frames or 0, promise.whole)
    for block_S in decoded:
        check.take(block_S)
    check.finish()


def librosa_mel(path: Path, view: MelView | PcenView) -> object:
    """The common chain: load, melspectrogram, power_to_db."""
    waveform_S, _ = librosa.load(path, sr=None)
    power_MT = librosa.feature.melspectrogram(
        y=waveform_S,
        sr=RATE_HZ,
        n_fft=view.n_fft,
        hop_length=view.hop,
        n_mels=view.n_mels,
        fmin=view.fmin_hz,
        fmax=view.fmax_hz,
    )
    return librosa.power_to_db(power_MT)


if __name__ == "__main__":
    main()
