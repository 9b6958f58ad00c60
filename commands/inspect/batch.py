"""`birdcache batch`: a picture of clips, as stored and as a member's model sees them.

B batch, T frame, M mel bin, K class.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.errors import CommandError
from birdcache.figures import figure
from birdcache.params.views import MelView, each_of
from cache.mel import mel_places
from commands.inspect.data import open_dataset
from train.augment.batch import Batch
from train.data.batch_plan import BACKGROUND, CLIP, PARTNER, THIRD, BatchPlan
from train.data.member import ResolvedMember
from train.loop.split import TrainingSplit
from train.model.classifier import Classifier

FOLDER = Path("reports/batch")
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)
LOWEST_TARGET = 0.005  # smaller targets are not in the titles


@dataclass(frozen=True)
class FirstBatch:
    """The first batch of an epoch, before and after augmentation."""

    plan: BatchPlan
    position: Ints  # (X, T) as of `Planner.clips_of`
    stored: Floats32  # (B, T, M)
    seen: Batch


def run(arguments: argparse.Namespace) -> None:
    """Write reports/batch/<member>.png; a CommandError if an argument is out of bounds."""
    if arguments.clips < 1 or arguments.epoch < 1:
        raise CommandError(f"--clips {arguments.clips} --epoch {arguments.epoch}: both must be at least 1")
    split = open_dataset(arguments.member, arguments.fold)
    if split.member.member.is_probe:
        raise CommandError(f"{arguments.member}: learns from embeddings, which have no picture; name another member")
    batch = first_batch(split, arguments.epoch - 1)
    path = FOLDER / f"{arguments.member}.png"
    shown = min(arguments.clips, len(batch.stored))
    draw(batch, split, shown, path)
    print(
        f"{path}: {shown} of the {len(batch.stored)} clips in the first batch of epoch {arguments.epoch}, "
        f"fold {split.fold}"
    )


def first_batch(split: TrainingSplit, epoch: int, model: Classifier | None = None) -> FirstBatch:
    """The first batch of an epoch, made as in training, for a trained model or a new one; a CommandError if none is."""
    batches = split.batches(model or split.model())
    plan = next(batches.planner.epoch(epoch), None)
    if plan is None:
        raise CommandError("an epoch has one clip, too few for a batch; raise sampling.clips_per_epoch")
    values, inputs = batches.read(plan)
    stored = values[: plan.size, :, : split.member.view.n_mels].cpu().numpy().copy()
    return FirstBatch(plan, batches.planner.clips_of(plan)[1], stored, batches.augment(values, inputs))


def draw(batch: FirstBatch, split: TrainingSplit, clips: int, path: Path) -> None:
    """Draw a row for each clip: its (first) view as stored on the left, the model's channels beside it."""
    seen_BCMT, channels = batch.seen.clips[:clips].cpu().numpy(), channel_names(split.member)
    stored_BMT = batch.stored[:clips].transpose(0, 2, 1)
    sound_BMT = np.broadcast_to((batch.position[:clips] >= 0)[:, None, :], stored_BMT.shape)
    unit = "dB" if isinstance(each_of(split.member.view)[0], MelView) else "PCEN"
    with figure(path, 5.5 * (1 + len(channels)), 0.8 + 1.75 * clips) as drawn:
        drawn.suptitle(f"{split.member.name}, fold {split.fold}: what the model sees", x=0.01, ha="left", weight="bold")
        axes = drawn.subplots(clips, 1 + len(channels), squeeze=False)
        span = np.percentile(stored_BMT[sound_BMT], [10, 99.8])
        _draw_column(axes[:, 0], stored_BMT, span, split, f"as stored, {unit}")
        for column, name in enumerate(channels):
            span = np.percentile(seen_BCMT[:, column], [5, 99.8])
            _draw_column(axes[:, 1 + column], seen_BCMT[:, column], span, split, f"as the model sees it: {name}")
        for number in range(clips):
            titles = stored_title(number, batch, split), seen_title(number, batch, split)
            for axis, title in zip(axes[number], titles, strict=False):
                axis.set_title(title, fontsize=8, fontweight="normal", parse_math=False)


def channel_names(member: ResolvedMember) -> list[str]:
    """Names of the channels, with those of their views if there are several."""
    views, channels = member.member.views, member.recipe.channels
    return [*channels] if len(views) == 1 else [f"{channel} of {view}" for view in views for channel in channels]


def _draw_column(axes: Any, images_BMT: Floats32, span: Floats32 | Floats64, split: TrainingSplit, label: str) -> None:
    """Draw spectrograms with axes in seconds and kHz, and one colour bar with this label."""
    view, (low, high) = each_of(split.member.view)[0], span
    extent = (0, images_BMT.shape[2] * view.hop / view.sample_rate_hz, -0.5, view.n_mels - 0.5)
    ticks = [hz for hz in TICKS_HZ if view.fmin_hz <= hz <= view.fmax_hz]
    for axis, image_MT in zip(axes, images_BMT, strict=True):
        image = axis.imshow(image_MT, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
        axis.set_yticks(mel_places(np.array(ticks, float), view), [f"{hz / 1000:g}" for hz in ticks])
        axis.set(xlabel="s", ylabel="kHz")
        axis.grid(visible=False)
        axis.label_outer()
    axis.figure.colorbar(image, ax=list(axes), label=label, aspect=40, pad=0.02)


def stored_title(number: int, batch: FirstBatch, split: TrainingSplit) -> str:
    """The recording, the clip's start in it, and its labels."""
    view = split.member.view
    positions_T = batch.position[number]
    begin_s = positions_T[positions_T >= 0][0] * view.hop / view.sample_rate_hz
    row = int(batch.plan.row[number, CLIP])
    return f"{_recording(row, split)} from {begin_s:.1f} s\n{_labels(row, split)}"


def seen_title(number: int, batch: FirstBatch, split: TrainingSplit) -> str:
    """The clip's target, the labels left out of the loss, and the sounds mixed into it."""
    targets_K = batch.seen.targets[number].cpu().numpy()
    weights_K = batch.seen.weights[number].cpu().numpy()
    order = [k for k in np.argsort(-targets_K, kind="stable").tolist() if targets_K[k] >= LOWEST_TARGET]
    target = ", ".join(f"{split.trained.labels[k]} {targets_K[k]:.2f}" for k in order)
    left_out = [label for label, weight in zip(split.trained.labels, weights_K, strict=True) if weight == 0]
    also = f"; left out: {', '.join(left_out)}" if left_out else ""
    return f"target {target}{also}\n{', '.join(_mixed_in(number, batch, split)) or 'no other sound'}"


def _mixed_in(number: int, batch: FirstBatch, split: TrainingSplit) -> Iterator[str]:
    """Other sounds in a clip."""
    plan = batch.plan
    rows, has = plan.row[number], plan.has[number]
    partners = (PARTNER, "mixed with", plan.mixtures.share), (THIRD, "and", plan.mixtures.pair_share)
    for sound, how, share_N in partners:
        if has[sound]:
            row, share = int(rows[sound]), share_N[number]
            yield f"{how} {_recording(row, split)} ({_labels(row, split)}), {100 * (1 - share):.0f} %"
    if has[BACKGROUND]:
        yield f"over {_recording(int(rows[BACKGROUND]), split)}"
    if plan.effects.added[number, 1]:
        yield "with noise"


def _recording(row: int, split: TrainingSplit) -> str:
    return Path(split.told(row)[0]).name


def _labels(row: int, split: TrainingSplit) -> str:
    """Primary label, and the secondary ones in brackets."""
    primary, *others = split.told(row)[1] or ["labelled windows"]
    return primary + "".join(f" ({label})" for label in others)
