"""The cost of preprocessing beside decoding alone, of more workers, of small changes, and the sizes of stores.

Rates compare arms that take turns in one process on one core, best round each; docs/benchmarks.md explains the keys.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks import building, songs
from benchmarks.on_the_fly import librosa_mel
from benchmarks.timing import SHIPPED, best, interleaved, parse_arguments, report
from birdcache.audio.read import waveform_blocks
from birdcache.audio.samples import SampleCheck
from birdcache.audio.validate import probe
from birdcache.params import load as params
from birdcache.params.views import MelView, PcenView
from birdcache.process import keep_heap
from pipeline.builder.frontend import room, spectrogram_blocks

SECONDS, RATE_HZ, OTHER_RATE_HZ = 120, 32000, 44100


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    views = params.load(SHIPPED).spectrograms
    with tempfile.TemporaryDirectory() as folder:
        numbers = rates(Path(folder), views, arguments.rounds)
        numbers |= building.measure(Path(folder), views["mel"])
    report(numbers, arguments.json)


def rates(folder: Path, views: Mapping[str, MelView | PcenView], rounds: int) -> dict[str, float]:
    """Rates of all arms, as multiples of real time and relative to decoding alone."""
    plain, other = (
        songs.write_song(folder / f"{rate_hz}.ogg", SECONDS, rate_hz) for rate_hz in (RATE_HZ, OTHER_RATE_HZ)
    )
    decoded = [*waveform_blocks(plain, RATE_HZ)]
    arms: dict[str, Callable[[], object]] = {
        "decode": lambda: songs.decode(plain),
        "mel": lambda: compute(plain, views["mel"]),
        "pcen": lambda: compute(plain, views["pcen"]),
        "validation": lambda: validate(plain, decoded),
        "librosa": lambda: librosa_decibels(plain, views["mel"]),
        "decode_soxr": lambda: songs.decode_and_resample(other),
        "mel_soxr": lambda: compute(other, views["mel"]),
    }
    keep_heap()  # as the process that decodes does
    with threadpool_limits(1):
        seconds = {name: best(each) for name, each in interleaved(arms, rounds).items()}
    numbers = {f"{name}_x_realtime": SECONDS / each for name, each in seconds.items()}
    numbers |= {f"{name}_vs_decode": seconds["decode"] / seconds[name] for name in ("mel", "pcen", "librosa")}
    numbers["validation_share_of_mel"] = seconds["validation"] / seconds["mel"]
    numbers["mel_vs_decode_soxr"] = seconds["decode_soxr"] / seconds["mel_soxr"]
    return numbers


def compute(path: Path, view: MelView | PcenView) -> None:
    """Decode and compute the whole front end, block by block."""
    for _ in spectrogram_blocks(waveform_blocks(path, RATE_HZ, lead=room(view)), view):
        pass


def validate(path: Path, decoded: Sequence[npt.NDArray[np.float32]]) -> None:
    """Validate only: walk over the file's frames, then check the decoded samples."""
    with path.open("rb", buffering=0) as file:
        header = probe(file)
    check = SampleCheck(header.frames)
    for block_S in decoded:
        check.take(block_S)
    check.finish()


def librosa_decibels(path: Path, view: MelView | PcenView) -> object:
    """The usual chain of librosa: load, melspectrogram, power_to_db."""
    waveform_S, _ = librosa.load(path, sr=None)
    return librosa.power_to_db(librosa_mel(waveform_S, view))


if __name__ == "__main__":
    main()
