"""Saving and resuming a training, and stopping it by a signal."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, TypeVar

import torch

from birdcache.errors import TrainError
from birdcache.params.sections import MachineParams
from train.loop.checkpoint import RECORD, Checkpoint, CheckpointFolder, CorruptedError, key_of, read_record
from train.loop.distributed import Ranks, handling_signals

AGREE_EVERY = 10  # steps of several processes; each time they wait for each other and for the device
T = TypeVar("T")

NOTHING, SAVE, STOP = 0, 1, 2  # requests of a process; the highest of several is carried out


class StoppedError(TrainError):
    """A signal stopped the training."""


class _StopNow(BaseException):
    """A signal arrived while the training changes nothing, so it stops at once."""


class Resumable(Protocol):
    """A training that can be saved between two steps."""

    name: str

    @property
    def position(self) -> str:
        """Progress in words."""

    def checkpoint(self) -> Checkpoint:
        """The state that `resume` continues from."""

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of the same training."""


def checkpoints_root(machine: MachineParams) -> Path:
    """The folder of all checkpoints: BIRDCACHE_CHECKPOINTS, else machine.checkpoints."""
    return Path(os.environ.get("BIRDCACHE_CHECKPOINTS") or machine.checkpoints)


class Saver:
    """Saves a training at intervals and when a signal stops it; of several processes the first one writes."""

    def __init__(
        self, place: Path, training: dict[str, str], machine: MachineParams, ranks: Ranks, device: torch.device
    ) -> None:
        self.folder = CheckpointFolder(place / key_of(training), machine.keep_checkpoints, training)
        self._every_s, self._ranks, self._device = machine.save_every_s, ranks, device
        self._signal: signal.Signals | None = None
        self._now = False  # a signal may stop the training at once
        self._steps, self._saved_at = 0, time.monotonic()

    @contextmanager
    def resuming(self, trainer: Resumable) -> Iterator[None]:
        """Resume from the newest checkpoint, and handle signals.

        A TrainError if another process runs this training, or the checkpoints are of another one.
        """
        with self.folder.held() if self._ranks.leads else nullcontext():
            if found := self._ranks.from_first(self.folder.newest() if self._ranks.leads else None, self._device):
                trainer.resume(found[1])
                print(f"{trainer.name}: resumes {trainer.position} ({found[0]})", flush=True)
            for line in self._others() if self._ranks.leads else ():
                print(f"{trainer.name}: {line}", flush=True)
            is_main = threading.current_thread() is threading.main_thread()  # signals come to no other
            with handling_signals(self._on_signal) if is_main else nullcontext():
                yield

    def after_step(self, trainer: Resumable) -> None:
        """Save if it is due; if a signal came, save and stop the training by a StoppedError."""
        self._steps += 1
        if self._ranks.world == 1 or self._steps % AGREE_EVERY == 0:
            self._act(self._ranks.highest(self._request(), self._device), trainer)

    def after_epoch(self, trainer: Resumable, ended: bool) -> None:
        """As `after_step`; save in any case where the training has ended."""
        self._act(self._ranks.highest(max(self._request(), SAVE if ended else NOTHING), self._device), trainer)

    def interruptible(self, trainer: Resumable, work: Callable[[], T]) -> T:
        """Do work that does not change the training; a signal to a single process stops it at once.

        A StoppedError if a signal came.
        """
        if self._ranks.world > 1:
            return work()
        try:
            try:
                self._now = True
                if self._signal:
                    raise _StopNow
                return work()
            finally:
                self._now = False
        except _StopNow:
            self._stop(trainer)

    def _act(self, action: int, trainer: Resumable) -> None:
        if action == STOP:
            self._stop(trainer)
        if action == SAVE:
            self._save(trainer)

    def _stop(self, trainer: Resumable) -> NoReturn:
        outcome, by = self._save(trainer), (self._signal or signal.SIGTERM).name
        raise StoppedError(f"{trainer.name}: stopped by {by} {trainer.position}; {outcome}")

    def _save(self, trainer: Resumable) -> str:
        """Save; the outcome in words. A full disk does not end a training."""
        checkpoint, refused = trainer.checkpoint(), False
        if self._ranks.leads:
            try:
                self.folder.save(checkpoint)
            except OSError as error:
                refused = True
                problem = f"no checkpoint in {self.folder.path} ({error}); free space on this disk"
                print(f"warning: {trainer.name}: {problem}", file=sys.stderr, flush=True)
        # no process continues before the first one has written
        refused = bool(self._ranks.highest(int(refused), self._device))
        self._saved_at = time.monotonic()
        how = "not saved; the same command resumes from an older checkpoint, if there is one," if refused else "saved"
        return f"{how} in {self.folder.path}{'' if refused else '; the same command resumes from there'}"

    def _others(self) -> Iterator[str]:
        """Lines on unfinished trainings of the same member and fold under other parameters."""
        for folder in sorted(self.folder.path.parent.iterdir()):
            records = sorted(folder.glob(f"[0-9]*/{RECORD}"))
            if folder == self.folder.path or not records:
                continue
            megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            try:
                differing = ", ".join(self.folder.differences(read_record(records[-1].parent)))
            except (TrainError, CorruptedError):
                differing = "unreadable record"
            yield (
                f"an unfinished training with another {differing} is kept in {folder} ({megabytes:,.0f} MB): change "
                "that back to resume it, or remove the folder"
            )

    def _request(self) -> int:
        if self._signal:
            return STOP
        return SAVE if time.monotonic() - self._saved_at >= self._every_s else NOTHING

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Remember the signal. A second Ctrl-C ends the process at once; SIGTERM may arrive more than once."""
        self._signal = signal.Signals(number)
        if number == signal.SIGINT and self._ranks.world == 1:
            signal.signal(number, signal.SIG_DFL)
        if self._now:
            self._now = False
            raise _StopNow
        os.write(2, f"{self._signal.name}: stopping after this step\n".encode())  # print may be interrupted in itself
