"""The usual alternative to birdcache: a torch DataLoader whose workers decode each clip anew in every epoch.

Two kinds. `tuned`: seek, decode only the clip, and use this project's own front end, which is faster than librosa.
`librosa`: load with an offset, melspectrogram, power_to_db, as most notebooks do. Batches are planned and augmented as
in birdcache, so only reading differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.whole import spectrogram
from birdcache.arrays import Ints
from birdcache.params.views import MelView, PcenView
from pipeline.builder.frontend import value_range
from train.augment.batch import Batch
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import BatchPlan, Planner

FloatArray = npt.NDArray[np.float32]
Kind = Literal["tuned", "librosa"]


class OnTheFlyClips(Dataset[tuple[BatchPlan, Tensor]]):
    """Planned batches of clips, decoded on demand."""

    def __init__(self, planner: Planner, full: bool, paths: Mapping[int, Path], view: MelView, kind: Kind) -> None:
        self._planner, self._full, self._paths, self._view = planner, full, paths, view
        self._compute: Callable[[Path, Ints, MelView], FloatArray] = tuned_clip if kind == "tuned" else librosa_clip

    def __getitem__(self, place: tuple[int, int]) -> tuple[BatchPlan, Tensor]:
        """Batch number `place[1]` of epoch `place[0]`: its plan, and values (X, T, M)."""
        epoch, number = place
        plan = next(self._planner.epoch(epoch, number))
        rows, positions = self._planner.clips_of(plan, self._full)
        clips = [self._clip(row, position_T) for row, position_T in zip(rows.tolist(), positions, strict=True)]
        return plan, torch.from_numpy(np.stack(clips))

    def _clip(self, row: int, position_T: Ints) -> FloatArray:
        """Decibels (T, M) of a clip, or of the silence in the place of one that a batch of full shape lacks."""
        if (position_T < 0).all():
            return np.full((len(position_T), self._view.n_mels), value_range(self._view)[0], np.float32)
        return self._compute(self._paths[row], position_T, self._view)


def tuned_clip(path: Path, position_T: Ints, view: MelView) -> FloatArray:
    """Decibels (T, M) of a clip: only its samples are decoded, unless it wraps around."""
    first, last = int(position_T[position_T >= 0].min()), int(position_T.max())
    with soundfile.SoundFile(path) as file:
        file.seek(min(first * view.hop, file.frames))
        waveform_S = file.read((last - first + 1) * view.hop, dtype="float32")
    return _placed(spectrogram(waveform_S, view), position_T - first, view)


def librosa_clip(path: Path, position_T: Ints, view: MelView) -> FloatArray:
    """Decibels (T, M) of a clip, by librosa."""
    import librosa  # only here: the other benchmarks run without it

    first, last = int(position_T[position_T >= 0].min()), int(position_T.max())
    seconds = view.hop / view.sample_rate_hz
    waveform_S, _ = librosa.load(
        path, sr=view.sample_rate_hz, offset=first * seconds, duration=(last - first + 1) * seconds
    )
    return _placed(librosa.power_to_db(librosa_mel(waveform_S, view), top_db=None).T, position_T - first, view)


def librosa_mel(waveform_S: FloatArray, view: MelView | PcenView) -> FloatArray:
    """Mel power (M, T) of a waveform, by librosa."""
    import librosa

    power_MT: FloatArray = librosa.feature.melspectrogram(
        y=waveform_S,
        sr=view.sample_rate_hz,
        n_fft=view.n_fft,
        hop_length=view.hop,
        n_mels=view.n_mels,
        fmin=view.fmin_hz,
        fmax=view.fmax_hz,
        htk=view.mel_scale == "htk",
    )
    return power_MT


def _placed(values_TM: FloatArray, place_T: Ints, view: MelView) -> FloatArray:
    """Frames at their positions; padding, at negative positions, gets the lowest value."""
    clip_TM = values_TM[np.clip(place_T, 0, len(values_TM) - 1)]
    clip_TM[place_T < 0] = value_range(view)[0]
    return clip_TM


class EpochOrder(Sampler[tuple[int, int]]):
    """Epoch and number of each batch of the current epoch."""

    def __init__(self, batches: int) -> None:
        self._batches, self.epoch = batches, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, number) for number in range(self._batches))

    def __len__(self) -> int:
        return self._batches


class OnTheFlyBatches:
    """Training batches read by the workers of a DataLoader, which persist from epoch to epoch."""

    def __init__(
        self,
        ours: TrainingBatches,
        paths: Mapping[int, Path],
        view: MelView,
        kind: Kind,
        workers: int,
    ) -> None:
        self._order, self._ours = EpochOrder(len(ours)), ours
        self._loader = DataLoader(
            OnTheFlyClips(ours.planner, ours.augment.full, paths, view, kind),
            sampler=self._order,
            batch_size=None,
            collate_fn=as_it_is,  # torch would turn the plan's arrays into tensors
            num_workers=workers,
            multiprocessing_context="spawn",  # zarrs, which the parent may have used, must not be used after a fork
            persistent_workers=True,
            worker_init_fn=one_thread,
            pin_memory=torch.cuda.is_available(),
        )

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch, transformed on the device, each with the seconds spent waiting for the workers."""
        self._order.epoch = epoch
        batches = iter(self._loader)
        while True:
            begin = time.perf_counter()
            read = next(batches, None)
            waited_s = time.perf_counter() - begin
            if read is None:
                return
            plan, values = read
            values = values.to(self._ours.augment.device, non_blocking=True)
            yield self._ours.augment(values, self._ours.numbers(plan)), waited_s


def as_it_is(read: Any) -> Any:
    """A batch as a worker has made it."""
    return read


def one_thread(worker: int) -> None:
    """Limit a worker's numpy and torch to one core."""
    threadpool_limits(1)
    torch.set_num_threads(1)
