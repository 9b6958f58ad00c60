"""What a spectrogram costs beyond decoding: one process, 32 kHz Vorbis, arms interleaved.

`mel_vs_decode` is the rate of decode + mel + dB as a share of the rate of decoding alone; 1 would be free.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import librosa
import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

import params
from benchmarks.timing import interleaved, parse_arguments, ratio, report
from params import MelView, PcenView
from pipeline.audio import read_waveform
from pipeline.frontend import spectrogram

RATE_HZ, SECONDS = 32000, 120


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    views = params.load(Path(__file__).parent.parent / "params.yaml").views
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        path = write_song(Path(folder) / "song.ogg")
        arms = {
            "decode": lambda: read_waveform(path, RATE_HZ),
            "mel": lambda: spectrogram(read_waveform(path, RATE_HZ), views["mel"]),
            "pcen": lambda: spectrogram(read_waveform(path, RATE_HZ), views["pcen"]),
            "librosa": lambda: librosa_mel(path, views["mel"]),
        }
        seconds = interleaved(arms, arguments.rounds)
    rates = {f"{name}_x_realtime": SECONDS / float(np.median(each)) for name, each in seconds.items()}
    shares = {f"{name}_vs_decode": ratio(seconds["decode"], each) for name, each in seconds.items() if name != "decode"}
    report(rates | shares, arguments.json)


def write_song(path: Path) -> Path:
    """Two minutes of chirps in noise, as Ogg Vorbis, written in blocks of a second."""
    rng = np.random.default_rng(1)
    time_S = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    waveform_S = 0.2 * np.sin(2 * np.pi * (3000 * time_S + 200 * np.sin(5 * time_S))) + 0.02 * rng.standard_normal(
        len(time_S)
    )
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, format="OGG", subtype="VORBIS") as file:
        for block_S in np.split(waveform_S.astype(np.float32), SECONDS):
            file.write(block_S)
    return path


def librosa_mel(path: Path, view: MelView | PcenView) -> object:
    """The common chain: load, melspectrogram, power_to_db."""
    waveform_S, _ = soundfile.read(path, dtype="float32")
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
