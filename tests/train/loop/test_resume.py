"""When a training saves, what a signal does to it, and what it says when it goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.sections import MachineParams
from tests.train.loop.resuming import SOME_TRAINING
from train.loop.checkpoint import Checkpoint, CheckpointFolder, key_of
from train.loop.distributed import ALONE
from train.loop.resume import Saver, StoppedError, checkpoints_root

CPU = torch.device("cpu")


@dataclass
class Counting:
    """A training that counts its steps."""

    name: str = "base-0"
    steps: int = 0

    @property
    def position(self) -> str:
        return f"after step {self.steps}"

    def checkpoint(self) -> Checkpoint:
        return Checkpoint({"steps": self.steps}, {"state.safetensors": b"bytes"})

    def resume(self, checkpoint: Checkpoint) -> None:
        self.steps = checkpoint.facts["steps"]

    def step(self, saver: Saver) -> None:
        self.steps += 1
        saver.after_step(self)


@pytest.fixture
def machine(params: Params) -> MachineParams:
    return params.machine.model_copy(update={"save_every_s": 60.0})


@pytest.fixture
def saver(tmp_path: Path, machine: MachineParams) -> Saver:
    return Saver(tmp_path, SOME_TRAINING, machine, ALONE, CPU)


@pytest.fixture(autouse=True)
def _same_handlers() -> Iterator[None]:
    of_shell = signal.signal(signal.SIGINT, signal.default_int_handler)  # its background jobs are started without it
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before
    signal.signal(signal.SIGINT, of_shell)


def saved(saver: Saver) -> list[int]:
    """The steps of the checkpoints that there are."""
    found = []
    for path in sorted(saver.folder.path.glob("[0-9]*")):
        single = CheckpointFolder(saver.folder.path, 3, SOME_TRAINING)._read(path)
        found.append(single.facts["steps"])
    return found


def test_a_training_saves_when_it_is_time_to(saver: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    training = Counting()
    with saver.resuming(training):
        for seconds in (1, 58, 2, 59, 2, 1):
            clock[0] += seconds
            training.step(saver)
        assert saved(saver) == [3, 5]
        saver.after_epoch(training, ended=False)
        assert saved(saver) == [3, 5]
        saver.after_epoch(training, ended=True)
    assert saved(saver) == [3, 5, 6]


def test_no_interval_saves_after_every_step(tmp_path: Path, machine: MachineParams) -> None:
    often = machine.model_copy(update={"save_every_s": 0.0, "keep_checkpoints": 2})
    saver, training = Saver(tmp_path, SOME_TRAINING, often, ALONE, CPU), Counting()
    with saver.resuming(training):
        for _ in range(4):
            training.step(saver)
    assert saved(saver) == [3, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_saves_and_stops(
    saver: Saver, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    training = Counting()
    said = rf"base-0: stopped by {number.name} after step 2; saved in {saver.folder.path}; the same command resumes"
    with saver.resuming(training):
        training.step(saver)
        os.kill(os.getpid(), number)
        with pytest.raises(StoppedError, match=said):
            training.step(saver)
    assert saved(saver) == [2]
    assert f"{number.name}: stopping after this step" in capfd.readouterr().err


def test_sigterm_may_come_by_several_ways_and_ctrl_c_twice_is_in_earnest(saver: Saver) -> None:
    training = Counting()
    with saver.resuming(training):
        for number in (signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        with pytest.raises(StoppedError):
            training.step(saver)
    assert saved(saver) == [1]


def test_a_signal_that_the_shell_ignores_stays_ignored(saver: Saver) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        training = Counting()
        with saver.resuming(training):
            os.kill(os.getpid(), signal.SIGINT)
            training.step(saver)
        assert saved(saver) == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_validation_is_not_waited_for(saver: Saver) -> None:
    training = Counting(steps=7)

    def validate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        pytest.fail("the signal has to wait")

    with pytest.raises(StoppedError, match="stopped by SIGTERM after step 7"), saver.resuming(training):
        saver.interruptible(training, validate)
    assert saved(saver) == [7]


def test_a_signal_before_a_validation_lets_it_not_begin(saver: Saver) -> None:
    training = Counting(steps=7)
    with saver.resuming(training):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError):
            saver.interruptible(training, partial(pytest.fail, "begins"))
    assert saved(saver) == [7]


def test_what_a_validation_gives_or_raises_comes_through(saver: Saver) -> None:
    training = Counting()
    with saver.resuming(training):
        assert saver.interruptible(training, lambda: 5) == 5
        with pytest.raises(TrainError, match="nan"):
            saver.interruptible(training, partial(_fail, TrainError("the loss is nan")))
        os.kill(os.getpid(), signal.SIGTERM)  # no longer within a validation
        assert saved(saver) == []


def _fail(error: Exception) -> None:
    raise error


def test_a_training_goes_on_from_its_newest_checkpoint_and_says_so(
    saver: Saver, tmp_path: Path, machine: MachineParams, capsys: pytest.CaptureFixture[str]
) -> None:
    with saver.resuming(Counting()):
        assert capsys.readouterr().out == ""
        saver.folder.save(Counting(steps=11).checkpoint())
    again = Counting()
    with Saver(tmp_path, SOME_TRAINING, machine, ALONE, CPU).resuming(again):
        assert again.steps == 11
    assert capsys.readouterr().out == f"base-0: resumes after step 11 ({saver.folder.path}/000001)\n"


def test_changed_parameters_begin_anew_and_the_other_training_is_named_and_kept(
    saver: Saver, tmp_path: Path, machine: MachineParams, capsys: pytest.CaptureFixture[str]
) -> None:
    saver.folder.save(Counting(steps=11).checkpoint())
    changed = Saver(tmp_path, {**SOME_TRAINING, "recipe": "other"}, machine, ALONE, CPU)
    training = Counting()
    with changed.resuming(training):
        assert training.steps == 0
    said = capsys.readouterr().out
    assert said.startswith(f"base-0: an unfinished training with another recipe is kept in {saver.folder.path} (0 MB)")
    assert "change that back to resume it" in said
    with Saver(tmp_path, SOME_TRAINING, machine, ALONE, CPU).resuming(training):
        assert training.steps == 11


def test_a_full_disk_ends_no_training_and_a_stop_says_that_nothing_was_saved(
    saver: Saver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    training = Counting()
    saver._every_s = 0.0
    with saver.resuming(training):
        training.step(saver)
        monkeypatch.setattr(CheckpointFolder, "save", full)
        training.step(saver)
        told = capsys.readouterr().err
        assert told.startswith(f"warning: base-0: no checkpoint in {saver.folder.path} ([Errno 28] No space left")
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(
            StoppedError, match=r"stopped by SIGTERM after step 3; not saved; .* from an older checkpoint"
        ):
            training.step(saver)
    assert saved(saver) == [1]


def test_the_folder_follows_from_the_training_and_from_nothing_else(tmp_path: Path, machine: MachineParams) -> None:
    other = machine.model_copy(update={"processes": 4, "keep_checkpoints": 9})
    folders = {Saver(tmp_path, SOME_TRAINING, each, ALONE, CPU).folder.path for each in (machine, other)}
    assert folders == {tmp_path / key_of(SOME_TRAINING)}
    assert key_of({**SOME_TRAINING, "store": "0"}) != key_of(SOME_TRAINING)
    assert key_of(dict(reversed(SOME_TRAINING.items()))) == key_of(SOME_TRAINING)


def test_the_environment_says_where_checkpoints_lie(machine: MachineParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRDCACHE_CHECKPOINTS", raising=False)
    assert checkpoints_root(machine) == Path(".birdcache/checkpoints")
    monkeypatch.setenv("BIRDCACHE_CHECKPOINTS", "/shared")
    assert checkpoints_root(machine) == Path("/shared")
