"""On a GPU no step waits: run on one that is not there, an epoch waits no more often if it has more steps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.sections import MachineParams
from birdcache.params.views import MelView, PcenView, multi_view
from cache.store import Store
from tests.fixtures.fake_gpu import GPU, PAGEABLE, READS, Event, FakeGpu, fake_gpu
from tests.train.small import small_model
from tests.train.teaching import opened, teacher_store
from train.data.examples import Events, Examples
from train.data.frames import ArrayFrames, Frames
from train.data.member import ResolvedMember
from train.data.multi_view import ConcatFrames, open_multi_view
from train.data.sampling import PseudoClips
from train.loop.distributed import ALONE
from train.loop.graph import WARM_UP, Recorder
from train.loop.split import TrainingSplit
from train.loop.trainer import Trainer
from train.model.losses import Loss
from train.score.inference import Scorer, clips_at

LENGTHS = (70, 25, 120, 41, 64, 38, 200, 55)  # some shorter than a clip of 40 frames
EVERYTHING = {
    "gain_db": 6.0,
    "time_shift_s": 0.2,
    "mixup": {"probability": 0.4, "third": 0.5},
    "sumix": {"probability": 0.3},
    "cutmix": {"probability": 0.3},
    "eq": {"probability": 0.5, "fewest_bands": 3, "boost_db": 6.0},
    "background": {"probability": 0.5, "label": "bird0"},
    "noise": {"probability": 0.5},
    "spec_augment": {"mel_masks": 2, "mel_width": 4, "time_masks": 2, "time_width": 8, "probability": 0.5},
    "mixstyle": {"probability": 0.5},
    "reverse": {"probability": 0.5},
    "lowpass": {"probability": 0.5},
    "distance": {"probability": 0.5},
    "tempo": {"probability": 0.5},
    "shorter": {"probability": 0.5, "clip_s": 0.3},
}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"short": "loop"},
    "padded": {"short": "pad", "clip_s": 4.0},  # longer than most recordings
    "everything": {"short": "loop", "normalise": "clip", "dynamic_range_db": 80.0, "augment": EVERYTHING},
    "float16": {"short": "loop", "precision": "float16", "optimiser": {"clip_norm": 1.0}},
    "accumulated": {"short": "loop", "optimiser": {"accumulate": 2, "clip_norm": 1.0, "ema_decay": 0.9}},
    "two views": {"short": "loop", "loss": {"kind": "distribution_balanced", "consistency": 1.0}},
    "recomputed": {"short": "loop", "recompute": True, "secondary": {"policy": "mask"}},
}
T = TypeVar("T")
Split = Callable[..., TrainingSplit]


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with fake_gpu() as gpu:
        yield gpu


@pytest.fixture
def split(
    random_store: Callable[..., Store],
    examples_of: Callable[..., Examples],
    member: Member,
    recipe: Recipe,
    view: MelView,
    pcen_view: PcenView,
    params: Params,
) -> Split:
    """A function that opens a training on the GPU: its recipe, its placement, and whether it has a second view."""

    def make(changes: dict[str, Any], placement: str = "device", second_view: bool = False) -> TrainingSplit:
        views: list[MelView | PcenView] = [view, pcen_view] if second_view else [view]
        stores = [random_store(LENGTHS, each) for each in views]
        frames, _ = open_multi_view(stores, GPU, on(params.machine, placement))
        examples = examples_of(stores[0], (0, 1, 2, 0, 1, 2, 0, 1), ((0, 1),))
        resolved = ResolvedMember(
            name="tiny",
            member=member,
            recipe=resolve_recipe(recipe, {"precision": "auto", "epochs": 1, **changes}),
            view=multi_view(views),
            store_digest="0" * 64,
            weights_sha256=None,
        )
        return TrainingSplit(resolved, 0, examples, examples, frames, GPU, ALONE)

    return make


def on(machine: MachineParams, placement: str) -> MachineParams:
    return machine.model_copy(update={"placement": placement})


class OneRun(Recorder):
    """Records a step by taking it, and replays nothing."""

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    def aside(self, work: Callable[[], T]) -> T:
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        before = len(self._gpu.events)
        loss = work()
        self.within = self._gpu.events[before:]
        return lambda: None, loss


def waits_of_an_epoch(
    gpu: FakeGpu, split: TrainingSplit, steps: int, recorder: Recorder | None = None
) -> Counter[Event]:
    """What the host waits for in an epoch of so many steps, with a validation of as many batches."""
    recipe = split.member.recipe
    sampling = {"clips_per_epoch": steps * recipe.batch_size * recipe.optimiser.accumulate, "weighted": True}
    longer = split.member.model_copy(update={"recipe": resolve_recipe(recipe, {"sampling": sampling})})
    split = replace(split, member=longer)
    is_plain = len(recipe.channels) == 1 and not recipe.recompute and split.member.view.kind == "mel"
    is_plain &= split.teacher is None  # of whose network features are asked for, too
    model = small_model(classes=3, mel_bins=32).to(GPU) if is_plain else split.model()
    trainer = Trainer(model, split.batches(model), longer.recipe, GPU, recorder=recorder)
    validation = split.validation()
    validation = replace(validation, batch_size=-(-len(validation.clips) // steps))
    gpu.events.clear()
    assert len(list(trainer.run(validation))) == 1
    return Counter(gpu.waits())


def each_step_waits_for(gpu: FakeGpu, split: TrainingSplit) -> Counter[Event]:
    few, many = (waits_of_an_epoch(gpu, split, steps) for steps in (2, 3))
    return many - few


@pytest.mark.parametrize("name", RECIPES)
def test_no_step_of_training_and_no_batch_of_validation_waits(gpu: FakeGpu, split: Split, name: str) -> None:
    assert not each_step_waits_for(gpu, split(RECIPES[name]))


@pytest.mark.parametrize("name", ["padded", "everything"])
@pytest.mark.parametrize("way", ["host", "stream", "torch"])
def test_no_step_waits_wherever_frames_lie_and_whatever_makes_a_batch(
    gpu: FakeGpu,
    split: Split,
    name: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if way == "torch":
        monkeypatch.setattr("train.augment.training_batches.KNOWN", frozenset())
    assert not each_step_waits_for(gpu, split(RECIPES[name], "device" if way == "torch" else way))
    assert "Triton" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["padded", "everything", "float16"])
def test_a_recorded_step_holds_no_copy_from_the_host_and_a_replayed_one_waits_for_nothing(
    gpu: FakeGpu, split: Split, name: str
) -> None:
    recorder = OneRun(gpu)
    few, many = (waits_of_an_epoch(gpu, split(RECIPES[name]), WARM_UP + steps, recorder) for steps in (2, 3))
    assert recorder.within == []
    assert not many - few


@pytest.mark.parametrize("channels", [["level"], ["pcen", "level", "slope"]])
def test_no_step_waits_with_several_views_or_channels(
    gpu: FakeGpu, split: Split, params: Params, channels: list[str]
) -> None:
    pcen = params.spectrograms["pcen"].model_dump()["pcen"]
    changes = {"short": "loop", "augment": EVERYTHING, "channels": channels, "pcen": pcen, "normalise": "bins"}
    assert not each_step_waits_for(gpu, split(changes, second_view="pcen" not in channels))


def with_teacher(
    split: TrainingSplit, monkeypatch: pytest.MonkeyPatch, stores: Sequence[Store], machine: MachineParams, **keys: Any
) -> TrainingSplit:
    """The training with a teacher, whose stores and those of the training are of recordings and of soundscapes."""
    own, theirs = stores[: len(stores) // 2], stores[len(stores) // 2 :]
    member, examples = split.member, split.trained
    teacher = opened(monkeypatch, theirs, own, examples, member, member.recipe, machine, GPU, **keys)
    return replace(split, teacher=teacher)


TEACHERS: dict[str, dict[str, Any]] = {
    "cosine": {"schedule": "cosine", "soft": {"alpha": 0.5}},
    "kl": {"loss": "kl", "projection": "mlp", "stop_gradient": True},
}


@pytest.mark.parametrize(
    ("name", "keys", "placements"),
    [
        ("everything", "cosine", ("device", "device")),
        ("float16", "kl", ("device", "device")),
        ("recomputed", "cosine", ("device", "device")),
        ("padded", "kl", ("device", "host")),
        ("everything", "cosine", ("host", "device")),
        ("accumulated", "kl", ("host", "host")),
    ],
)
def test_no_step_with_a_teacher_waits(
    gpu: FakeGpu,
    split: Split,
    random_store: Callable[..., Store],
    make_store: Callable[..., Store],
    view: MelView,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    keys: str,
    placements: tuple[str, str],
) -> None:
    own = random_store(LENGTHS, view)
    stores = [own, teacher_store(make_store, own, 6)]
    training = split(RECIPES[name], placements[0])
    taught = with_teacher(training, monkeypatch, stores, on(params.machine, placements[1]), **TEACHERS[keys])
    recorder = OneRun(gpu) if name in ("padded", "everything", "float16") else None
    few, many = (waits_of_an_epoch(gpu, taught, WARM_UP + steps, recorder) for steps in (2, 3))
    assert not many - few
    assert recorder is None or recorder.within == []


def with_soundscapes(split: TrainingSplit, random_store: Callable[..., Store], machine: MachineParams) -> TrainingSplit:
    """The training as a noisy student's."""
    store = random_store((200, 150), split.member.view)
    soundscapes, _ = open_multi_view([store], GPU, machine)
    scores = np.full((2, split.trained.classes), 0.5, np.float32)
    clips = PseudoClips(np.arange(2), store.frames, np.array([20, 60]), scores, np.ones(2), 0.5, 0.5)
    both = ConcatFrames(split.frames, soundscapes, len(LENGTHS))
    return replace(split, frames=both, pseudo=clips.offset(len(LENGTHS)))


def test_no_step_of_a_noisy_student_waits(
    gpu: FakeGpu, split: Split, random_store: Callable[..., Store], params: Params
) -> None:
    training = split({"short": "loop", "augment": {"mixup": {"probability": 0.5}}})
    assert not each_step_waits_for(gpu, with_soundscapes(training, random_store, on(params.machine, "device")))


def test_no_step_waits_with_windows_of_soundscapes_in_training_and_validation(
    gpu: FakeGpu, split: Split, random_store: Callable[..., Store], params: Params
) -> None:
    training = split({"short": "loop", "augment": {"mixup": {"probability": 0.5}}})
    shares = {"sampling": {"shares": {"recordings": 0.5, "soundscapes": 0.5}}}
    member = training.member.model_copy(update={"recipe": resolve_recipe(training.member.recipe, shares)})
    store = random_store((200, 150), member.view)
    soundscapes, _ = open_multi_view([store], GPU, on(params.machine, "device"))
    chosen = np.arange(2)
    judged = replace(training.trained.subset(chosen), rows=chosen, frames=np.full(2, 40))
    events = Events(chosen + len(LENGTHS), np.zeros(2, np.int64), np.full(2, 100), chosen)
    windows = replace(judged, rows=chosen + len(LENGTHS), frames=np.full(2, 100), events=events)
    training = replace(training, member=member, soundscapes=soundscapes, rows=len(LENGTHS))
    assert not each_step_waits_for(gpu, replace(training, windows=windows, judged=judged))


def frames_of(store: Store, kind: str, machine: MachineParams) -> Frames:
    """The store on the GPU, or one recording as `birdcache predict` has it."""
    if kind == "file":
        return ArrayFrames(store.quantizer.encode(store.read(6)), store.quantizer, GPU)
    frames, _ = open_multi_view([store], GPU, on(machine, kind))
    return frames


@pytest.mark.parametrize("kind", ["device", "host", "stream", "file"])
def test_prediction_waits_once_a_batch_for_the_one_before(
    gpu: FakeGpu,
    split: Split,
    random_store: Callable[..., Store],
    view: MelView,
    params: Params,
    kind: str,
) -> None:
    training, store = split({"short": "loop"}), random_store(LENGTHS, view)
    model, frames = small_model(mel_bins=32).to(GPU), frames_of(store, kind, params.machine)
    scorer = Scorer(model, frames, view, training.member.recipe, GPU)
    clips = clips_at(np.linspace(0.5, 2.5, 40), 6 if kind != "file" else 0, 200, view, 40)
    gpu.events.clear()
    batches = [len(scores) for scores in scorer.batches(clips, 3)]
    assert batches == [12, 12, 12, 4]  # four times as many clips as on a CPU
    assert len(gpu.waits()) == len(batches), gpu.waits()
    assert all("inference.py" in wait.where for wait in gpu.waits())


@pytest.mark.parametrize(
    ("wrong", "what"), [(lambda loss: loss.item(), READS), (lambda loss: torch.ones(2).to(GPU), PAGEABLE)]
)
def test_a_wait_within_a_step_is_found_with_its_line(
    gpu: FakeGpu, split: Split, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Tensor], object], what: str
) -> None:
    def waiting(loss: Loss, *arguments: Any) -> Tensor:
        value = right(loss, *arguments)
        wrong(value)
        return value

    right = Loss.__call__
    monkeypatch.setattr(Loss, "__call__", waiting)
    found = each_step_waits_for(gpu, split(RECIPES["plain"]))
    assert set(found.values()) == {1}, "one step and one batch of validation more"
    assert {event.what for event in found} == {what}
    assert {re.sub(r":\d+.*", "", event.where) for event in found} == {"train/loop/step.py", "train/loop/validation.py"}
