"""The watch over the loss: when it looks, what it says, and when a rise is an explosion."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from birdcache.errors import TrainError
from train.loop.history import DivergenceCheck, Totals, explosion


def watch_losses(losses: list[float], done: int = 0) -> DivergenceCheck:
    """An epoch whose steps after the first `done` have these losses; step n learned from recordings n and n + 1."""
    watch = DivergenceCheck(
        "base-2, epoch 3", done + len(losses), lambda step: [f"XC{step}.ogg", f"XC{step + 1}.ogg"], done
    )
    for step, loss in enumerate(losses, start=done + 1):
        watch.after_step(torch.tensor(loss), 1e-3 * step)
    return watch


@pytest.mark.parametrize(("broken", "steps"), [(1, 120), (50, 120), (51, 120), (101, 120), (120, 120)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("done", [0, 30])
def test_a_loss_that_is_no_number_is_found_by_its_step_and_its_recordings_are_named(
    broken: int, steps: int, value: float, done: int
) -> None:
    losses = [1.0] * (broken - 1) + [value] + [math.nan] * (steps - broken)
    step = done + broken
    message = (
        rf"base-2, epoch 3: the loss became {value} at step {step} of {done + steps} "
        rf"\(learning rate {1e-3 * step:.1e}\); lower .*recordings: XC{step - 1}\.ogg, XC{step}\.ogg$"
    )
    with pytest.raises(TrainError, match=message):
        watch_losses(losses, done)


def test_a_loss_that_overflows_is_no_end_while_a_scaler_skips_its_step_but_endless_skips_are() -> None:
    for scale, ends in ((65536.0, False), (2.0**-14, False), (2.0**-15, True)):
        watch = DivergenceCheck("base-2, epoch 3", 9, lambda step: [], scale=partial(float, scale))
        watch.after_step(torch.tensor(math.inf), 1.0)
        if ends:
            with pytest.raises(TrainError, match=r"float16 overflows in every step up to 1 of 9, .* precision float32"):
                watch.check()
        else:
            watch.check()


def test_a_step_that_is_skipped_leaves_the_mean_loss_as_it_is() -> None:
    totals = Totals(torch.zeros(()))
    for loss in (1.0, math.inf, 3.0, math.nan):
        totals.add(torch.tensor(loss), 4, 0.0)
    assert float(totals.loss) / totals.clips == pytest.approx((1 + 1 + 3 + 5 / 3) / 4)


def test_a_look_in_between_finds_what_has_not_been_looked_at() -> None:
    watch = watch_losses([1.0, 2.0])
    watch.check()
    watch = DivergenceCheck("base-2, epoch 3", 9, lambda step: [f"XC{step}.ogg"])
    watch.after_step(torch.tensor(1.0), 1.0)
    watch.check()
    watch.after_step(torch.tensor(math.nan), 1.0)
    with pytest.raises(TrainError, match=r"at step 2 of 9 .*XC1\.ogg"):
        watch.check()


def test_the_device_is_waited_for_every_50_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    look = DivergenceCheck.check

    def counted(watch: DivergenceCheck) -> None:
        looks.append(watch._done)
        look(watch)

    monkeypatch.setattr(DivergenceCheck, "check", counted)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda _: pytest.fail("a step waits for the device"))
    watch_losses([1.0] * 120)
    assert looks == [50, 100, 120]


@pytest.mark.parametrize(
    ("losses", "exploded"),
    [
        ([2.0], False),
        ([2.0, 1.0, 9.9], False),
        ([2.0, 1.0, 10.1], True),
        ([2.0, 0.001, 0.5], False),
        ([2.0, 1.0, 30.0, 12.0], True),
    ],
)
def test_ten_times_the_lowest_loss_and_more_than_the_first_is_an_explosion(losses: list[float], exploded: bool) -> None:
    said = explosion(losses)
    assert (said is not None) == exploded
    if said is not None:
        assert "times that of epoch 2" in said
        assert "lower optimiser.lr" in said
