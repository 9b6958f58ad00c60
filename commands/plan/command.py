"""`birdcache plan`: the stages that `dvc repro` would run, the reasons, and the cost of decoding."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from birdcache.errors import CommandError, check_open_files
from birdcache.params import load as parameters
from birdcache.text import counted
from commands.plan.reasons import few, lines, size_text
from commands.plan.stages import StagePlan, State, plan_stages
from commands.project.hashable import check_data
from commands.project.repository import git_trouble

if TYPE_CHECKING:
    from commands.plan.decoding import Decoding, StoreCost


def run(_: argparse.Namespace) -> None:
    """Print the plan. What would end `dvc repro` at once ends this, too."""
    check_open_files()
    params = parameters.load()
    if trouble := git_trouble():
        raise CommandError(trouble)
    check_data(params.data)
    stages = plan_stages()
    if any(plan.stage == "check" and plan.state != "up to date" for plan in stages):
        from commands.project.check import check_params  # torch, and the networks, only if something is new

        check_params(params)
    decoding = None
    if any(plan.stage.startswith("spectrograms@") and plan.state in ("runs", "may run") for plan in stages):
        from commands.plan.decoding import plan_decoding  # the pipeline, only if it may decode

        decoding = plan_decoding(stages, params)
    print("\n".join(stage_lines(stages)))
    if decoding is not None:
        print("\n".join(["", *decoding_lines(decoding)]))


def stage_lines(stages: Sequence[StagePlan]) -> Iterator[str]:
    """A line per stage and reason, and a summary."""
    count = Counter[str](plan.state for plan in stages)
    if count["up to date"] == len(stages):
        yield f"nothing to run: all {len(stages)} stages are up to date"
        return
    width = max(len(plan.stage) for plan in stages)
    for plan in stages:
        why = lines(plan.reasons) + ([f"after {few(plan.after)}"] if plan.after else [])
        for number, text in enumerate(why or [""]):
            state, name = (plan.state, plan.stage) if number == 0 else ("", "")
            yield f"{state:<10}  {name:<{width}}  {text}".rstrip()
    yield ""
    counts = ", ".join(f"{count[state]} {state}" for state in get_args(State) if count[state])
    yield f"{len(stages)} stages: {counts}"
    if count["may run"]:
        yield "may run: only if its inputs change"


def decoding_lines(decoding: Decoding) -> Iterator[str]:
    """A table of the stores to decode, and the basis of the estimate."""
    yield from decoding.notes
    if any(store.to_decode for store in decoding.stores):
        yield f"{'decoding':<24}{'recordings':>16}{'hours':>10}{'to write':>12}{'about':>12}"
    for stage in dict.fromkeys(store.stage for store in decoding.stores):
        stores = [store for store in decoding.stores if store.stage == stage]
        if any(store.to_decode for store in stores):
            yield from (_store_line(store) for store in stores if store.listed)
        else:
            yield _nothing_line(stores)
    if sum(store.to_decode > 0 for store in decoding.stores) > 1:
        yield _total_line(decoding.stores)
    workers = counted(decoding.workers, "workers")
    for rate in decoding.rates:
        basis = f"{rate.seconds:.0f} s of {counted(rate.recordings, 'recordings')}"
        speed = f"{rate.times_realtime:,.0f} x realtime for each of {workers}"
        yield f"{rate.stage}: time estimated from {speed}, just measured on {basis}"
    if decoding.free_gigabytes is not None and any(store.gigabytes for store in decoding.stores):
        free = f"{size_text(decoding.free_gigabytes * 1e9)} are free on the disk of the pool {decoding.pool}"
        yield (free if decoding.fits else f"WARNING: not enough disk space: only {free}; try `birdcache cache gc`")


def _store_line(store: StoreCost) -> str:
    name = store.stage if store.store == "recordings" else f"  {store.store}"
    files = f"{store.to_decode:,} of {store.listed:,}"
    about = "?" if math.isnan(store.minutes) else time_text(store.minutes)
    return f"{name:<24}{files:>16}{store.hours:>10,.2f}{size_text(store.gigabytes * 1e9):>12}{about:>12}"


def _nothing_line(stores: Sequence[StoreCost]) -> str:
    if not any(store.listed for store in stores):
        return f"{stores[0].stage}: nothing to decode: there are no audio files"
    held = " and ".join(counted(store.listed, store.store) for store in stores if store.listed)
    copied = sum(store.gigabytes for store in stores)
    more = f"; {size_text(copied * 1e9)} are copied into new parts" if copied else ""
    return f"{stores[0].stage}: nothing to decode: all {held} are in the pool{more}"


def _total_line(stores: Sequence[StoreCost]) -> str:
    summed = ("listed", "to_decode", "hours", "gigabytes", "minutes")
    sums: dict[str, Any] = {name: sum(vars(store)[name] for store in stores) for name in summed}
    return _store_line(replace(stores[0], stage="in all", store="recordings", **sums))


def time_text(minutes: float) -> str:
    """Minutes as seconds, minutes or hours: 12 s, 3.4 min, 2.5 h."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s" if minutes * 60 >= 1 or not minutes else "1 s"
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:,.1f} h"
