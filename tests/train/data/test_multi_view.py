"""Several views as channels of one image: each channel is what its view alone would show, of the same clip.

B batch, C channel, T frame, M mel bin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from birdcache.arrays import Ints
from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView, PcenView, View, each_of, multi_view
from cache.store import Store
from tests.train.conftest import audio_sha256
from train.augment.batch import Batch, BatchTransform
from train.augment.normalise import BinStatistics, Normaliser, bin_statistics, channel_count
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.frames import DeviceFrames, Frames, HostFrames, StreamFrames
from train.data.multi_view import ConcatFrames, MultiViewFrames, held_by_all, open_multi_view, rows_beside
from train.data.sampling import clip_positions, clip_starts
from train.model.classifier import build_model
from train.score.inference import Scorer, covering_clips

MakeStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90, 64, 200, 15, 33, 47, 300, 38, 80)
PRIMARY = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3)
MIXED: dict[str, Any] = {
    "short": "loop",
    "sampling": {"weighted": True, "clips_per_epoch": 24},
    "augment": {
        "time_shift_s": 0.2,
        "mixup": {"probability": 0.4, "alpha": 0.8},
        "cutmix": {"probability": 0.3, "alpha": 1.0},
        "spec_augment": {"mel_masks": 2, "mel_width": 6, "time_masks": 2, "time_width": 9, "probability": 0.7},
    },
}
LOUDNESS: dict[str, Any] = {"gain_db": 12.0, "eq": {"probability": 0.5, "bands": 4, "depth_db": 20.0}}
PLACEMENTS: dict[str, Callable[[Store, torch.device], Frames]] = {
    "device": DeviceFrames,
    "host": HostFrames,
    "stream": partial(StreamFrames, budget_bytes=50_000),
}


def filled(view: View, seed: int, lengths: tuple[int, ...] = LENGTHS) -> list[npt.NDArray[np.float32]]:
    lowest, highest = (-100, 40) if isinstance(view, MelView) else (0, 50)
    rng = np.random.default_rng(seed)
    return [rng.uniform(lowest, highest, (frames, view.n_mels)).astype(np.float32) for frames in lengths]


@pytest.fixture(scope="module")
def fine(view: MelView) -> MelView:
    """A view that is finer in frequency, of the same geometry, and packed otherwise."""
    return view.model_copy(update={"n_fft": 4096, "dtype": "uint8"})


@pytest.fixture(scope="module")
def stores(make_store: MakeStore, view: MelView, fine: MelView, pcen_view: PcenView) -> dict[str, Store]:
    """The same recordings in three views; each store has them in an order of its own."""
    views: dict[str, View] = {"mel": view, "fine": fine, "pcen": pcen_view}
    return {name: make_store(filled(each, seed), each) for seed, (name, each) in enumerate(views.items())}


def beside(*stores: Store, make: Callable[[Store, torch.device], Frames] = HostFrames) -> MultiViewFrames:
    frames = [make(store, torch.device("cpu")) for store in stores]
    return MultiViewFrames(frames, [rows_beside(stores[0], store) for store in stores])


def gathered(frames: Frames, row_B: Ints, position_BT: Ints) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = frames.finish(frames.stage(row_B, position_BT)).numpy()
    return values


def an_epoch(recipe: Recipe, examples: Examples, frames: Frames, *stores: Store, epoch: int = 0) -> Batch:
    """A whole epoch as one batch; by mel bin, each channel has other statistics."""
    view = multi_view([store.view for store in stores])
    channels, cpu = channel_count(view, recipe), torch.device("cpu")
    mean_CM = torch.linspace(-60, -20, 32) + torch.arange(channels)[:, None]
    normaliser = Normaliser(view, recipe, BinStatistics(mean_CM, mean_CM.abs()))
    batches = TrainingBatches(Planner(examples, view, recipe), frames, BatchTransform(view, recipe, normaliser, cpu))
    parts = [batch for batch, _ in batches.epoch(epoch)]
    columns = ([getattr(part, name) for part in parts] for name in ("clips", "targets", "weights", "importance"))
    return Batch(*(torch.cat(column) for column in columns))


def alone(recipe: Recipe, examples_of: ExamplesOf, store: Store, epoch: int = 0) -> Batch:
    """The same epoch of a member that looks at one view only."""
    return an_epoch(recipe, examples_of(store, PRIMARY), HostFrames(store, torch.device("cpu")), store, epoch=epoch)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("loop", [False, True])
def test_every_clip_shows_one_recording_in_all_views(stores: dict[str, Store], placement: str, loop: bool) -> None:
    first, *others = stores.values()
    rows = np.concatenate([np.arange(len(first)), np.random.default_rng(5).integers(0, len(first), 20)])
    starts = clip_starts(first.frames[rows], 40, loop, np.random.default_rng(6).random(len(rows)))
    positions = clip_positions(starts, first.frames[rows], 40, loop)
    found = gathered(beside(*stores.values(), make=PLACEMENTS[placement]), rows, positions)
    assert found.shape == (len(rows), 40, 3 * 32)
    order = [first.rows_of([audio_sha256(number)])[0] for number in range(len(first))]
    assert any([store.rows_of([audio_sha256(n)])[0] for n in range(len(first))] != order for store in others)
    for clip, row, position_T in zip(found, rows, positions, strict=True):
        number = order.index(row)
        for place, store in enumerate(stores.values()):
            recording = store.read(int(store.rows_of([audio_sha256(number)])[0]))
            expected = np.where(position_T[:, None] < 0, store.quantizer.low, recording[position_T])
            assert np.array_equal(clip[:, 32 * place : 32 * (place + 1)], expected)


@pytest.mark.parametrize("normalise", ["clip", "none"])
@pytest.mark.parametrize("channels", [["level"], ["level", "slope"]])
def test_each_channel_equals_that_of_a_member_of_its_view_alone(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe, normalise: str, channels: list[str]
) -> None:
    """Same clips, partners, weights, spans and masks; gain and equaliser too, as long as all views are in dB."""
    augment = MIXED["augment"] | LOUDNESS | {"sumix": {"probability": 0.3, "gain_db": 9.0}}
    changes = MIXED | {"augment": augment, "normalise": normalise, "channels": channels, "dynamic_range_db": 60.0}
    changed = resolve_recipe(recipe, changes)
    both = [stores["mel"], stores["fine"]]
    found = an_epoch(changed, examples_of(both[0], PRIMARY), beside(*both), *both, epoch=2)
    for place, store in enumerate(both):
        expected = alone(changed, examples_of, store, epoch=2)
        mine = slice(place * len(channels), (place + 1) * len(channels))
        assert torch.allclose(found.clips[:, mine], expected.clips, rtol=0, atol=1e-5)
        assert torch.equal(found.targets, expected.targets)
        assert torch.equal(found.weights, expected.weights)
    assert found.clips.shape[1] == 2 * len(channels)


@pytest.mark.parametrize("order", [("mel", "pcen"), ("pcen", "mel"), ("mel", "pcen", "fine")])
def test_gain_and_equaliser_leave_pcen_alone_and_all_else_reaches_it(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe, order: tuple[str, ...]
) -> None:
    loud = resolve_recipe(recipe, MIXED | {"augment": MIXED["augment"] | LOUDNESS, "dynamic_range_db": 30.0})
    quiet = resolve_recipe(recipe, MIXED)
    chosen = [stores[name] for name in order]
    found = an_epoch(loud, examples_of(chosen[0], PRIMARY), beside(*chosen), *chosen)
    for place, (name, store) in enumerate(zip(order, chosen, strict=True)):
        expected = alone(quiet if name == "pcen" else loud, examples_of, store)
        assert torch.allclose(found.clips[:, place], expected.clips[:, 0], rtol=0, atol=1e-4)


def test_every_channel_is_blank_at_the_same_places(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe
) -> None:
    masks = {"mel_masks": 1, "mel_width": 8, "time_masks": 1, "time_width": 9, "probability": 1.0}
    masked = resolve_recipe(recipe, {"augment": {"spec_augment": masks}, "normalise": "clip", "short": "loop"})
    both = [stores["mel"], stores["pcen"]]
    images = an_epoch(masked, examples_of(both[0], PRIMARY), beside(*both), *both).clips
    blank = images == 0
    assert blank.any()
    assert torch.equal(blank[:, 0], blank[:, 1])


@pytest.mark.parametrize("way", ["background", "noise"])
def test_an_added_sound_has_one_loudness_in_all_views(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe, way: str
) -> None:
    """Power that is added is g times that of the other sound, with one g for all channels, at the SNR over all."""
    sound = {"probability": 1.0, "lowest_snr_db": 3.0, "highest_snr_db": 3.0}
    changed = resolve_recipe(recipe, {"augment": {way: sound | ({"label": "bird3"} if way == "background" else {})}})
    both = [stores["mel"], stores["fine"]]
    examples = examples_of(both[0], PRIMARY)
    plain, added = (
        10 ** (an_epoch(each, examples, beside(*both), *both).clips.double() / 10)
        for each in (resolve_recipe(recipe, {}), changed)
    )
    ratio_B = plain.mean(dim=(1, 2, 3)) / (added - plain).mean(dim=(1, 2, 3))
    assert ratio_B.log10().mul(10).numpy() == pytest.approx(np.full(16, 3.0), abs=1e-3)


def test_noise_is_as_loud_in_each_view_and_as_even_as_its_window_is_long(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe
) -> None:
    loud = {"probability": 1.0, "lowest_snr_db": -40.0, "highest_snr_db": -40.0, "colour": "white"}
    noisy = resolve_recipe(recipe, {"augment": {"noise": loud}, "short": "loop"})
    both = [stores["mel"], stores["fine"]]
    power = 10 ** (an_epoch(noisy, examples_of(both[0], PRIMARY), beside(*both), *both).clips.double() / 10)
    mean_C, deviation_C = (
        power.mean(dim=(0, 2, 3)),
        (power / power.mean(dim=(1, 2, 3), keepdim=True)).std(dim=(0, 2, 3)),
    )
    assert float(mean_C[1] / mean_C[0]) == pytest.approx(1, abs=0.05)
    assert float(deviation_C[1] / deviation_C[0]) < 0.9


def test_statistics_of_each_channel_are_those_of_its_view(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe, cpu: torch.device
) -> None:
    by_bins = resolve_recipe(recipe, {"normalise": "bins", "channels": ["level", "slope"], "short": "loop"})
    both = [stores["mel"], stores["pcen"]]
    view = multi_view([store.view for store in both])
    found = bin_statistics(examples_of(both[0], PRIMARY), beside(*both), view, by_bins)
    parts = [bin_statistics(examples_of(each, PRIMARY), HostFrames(each, cpu), each.view, by_bins) for each in both]
    assert torch.allclose(found.mean, torch.cat([part.mean for part in parts]), atol=1e-4)
    assert torch.allclose(found.deviation, torch.cat([part.deviation for part in parts]), atol=1e-4)


def test_channels_are_normalised_by_their_own_statistics(view: MelView, pcen_view: PcenView, recipe: Recipe) -> None:
    by_bins = resolve_recipe(recipe, {"normalise": "bins"})
    mean_CM, deviation_CM = torch.arange(64.0).view(2, 32), 1 + torch.arange(64.0).view(2, 32)
    normaliser = Normaliser(multi_view([view, pcen_view]), by_bins, BinStatistics(mean_CM, deviation_CM))
    clips = torch.rand(3, 40, 64, generator=torch.Generator().manual_seed(1))
    shown = normaliser(clips.clone())
    for channel in range(2):
        expected = (clips[:, :, 32 * channel : 32 * channel + 32] - mean_CM[channel]) / deviation_CM[channel]
        assert torch.allclose(shown[:, channel], expected, atol=1e-4)


def test_a_scorer_shows_all_channels_to_the_model(
    stores: dict[str, Store], examples_of: ExamplesOf, recipe: Recipe, member: Member, cpu: torch.device
) -> None:
    standard = resolve_recipe(recipe, {"normalise": "clip", "short": "loop"})
    both = [stores["mel"], stores["pcen"]]
    view = multi_view([store.view for store in both])
    torch.manual_seed(3)
    model = build_model(member, 4, 32, pretrained=False, channels=channel_count(view, standard)).eval()
    clips = covering_clips(examples_of(both[0], PRIMARY), 40)
    found = Scorer(model, beside(*both), view, standard, cpu).scores(clips, 8)
    for number in (0, 5, len(clips) - 1):
        frames = int(clips.frames[number])
        position_T = clip_positions(clips.start[[number]], np.array([frames]), 40, True)[0]
        audio = int(clips.owner[number])
        channels = [store.read(int(store.rows_of([audio_sha256(audio)])[0]))[position_T] for store in both]
        image = np.stack([(each - each.mean()) / each.std(ddof=1) for each in channels]).transpose(0, 2, 1)
        with torch.no_grad():
            expected = model(torch.tensor(image[None])).clip.softmax(dim=1)[0]
        assert found[number] == pytest.approx(expected.numpy(), abs=1e-4)


def test_one_view_is_opened_as_it_is(stores: dict[str, Store], cpu: torch.device, params: Params) -> None:
    frames, line = open_multi_view([stores["mel"]], cpu, params.machine)
    assert isinstance(frames, HostFrames)
    assert line.count("\n") == 0
    view = stores["mel"].view
    assert multi_view([view]) is view
    assert each_of(view) == [view]


def test_each_store_has_its_own_placement_and_they_share_the_memory(
    make_store: MakeStore, stores: dict[str, Store], fine: MelView, cpu: torch.device, params: Params
) -> None:
    packed = make_store(filled(fine, 4), fine.model_copy(update={"compression": "lz4"}))
    machine = params.machine.model_copy(update={"placement": "auto", "stream_gb": 3.0})
    frames, lines = open_multi_view([stores["mel"], packed], cpu, machine)
    assert [type(each) for each in frames._frames] == [HostFrames, StreamFrames]  # type: ignore[attr-defined]
    assert "mapped files" in lines.splitlines()[0]
    assert "a cache of 1,500 MB" in lines.splitlines()[1]


def test_a_recording_that_a_view_lacks_is_left_out_and_never_taken_for_another(
    make_store: MakeStore, stores: dict[str, Store], fine: MelView
) -> None:
    lacking = make_store(filled(fine, 1)[:-1], fine)
    first, gone = stores["mel"], stores["mel"].rows_of([audio_sha256(15)])
    assert held_by_all([first, lacking], np.arange(16)).tolist() == [row != gone[0] for row in range(16)]
    assert held_by_all([first], np.arange(16)).all()
    with pytest.raises(
        TrainError, match="a recording is not in the stores of all views of its member; run `dvc repro`"
    ):
        beside(first, lacking).stage(gone, np.zeros((1, 40), np.int64))


def test_a_recording_of_another_length_is_refused_by_name(
    make_store: MakeStore, stores: dict[str, Store], fine: MelView
) -> None:
    longer = make_store(filled(fine, 1, (*LENGTHS[:-1], 81)), fine)
    with pytest.raises(TrainError, match=r"tiny\.zarr: 1 recordings have a different .* such as 81 instead of 80; run"):
        rows_beside(stores["mel"], longer)


def test_frames_of_two_data_sets_may_each_show_several_views(stores: dict[str, Store]) -> None:
    """As a noisy student of several views needs it, whichever way they are put together."""
    both = [stores["mel"], stores["pcen"]]
    row, position = np.array([3, 16 + 5, 0]), np.zeros((3, 40), np.int64)
    expected = gathered(beside(*both), row % 16, position)
    outside = ConcatFrames(beside(*both), beside(*both), 16)
    assert np.array_equal(gathered(outside, row, position), expected)
    rows = [np.concatenate([each, each + 16]) for each in (rows_beside(both[0], store) for store in both)]
    cpu = torch.device("cpu")
    concatenated = [ConcatFrames(HostFrames(store, cpu), HostFrames(store, cpu), 16) for store in both]
    assert np.array_equal(gathered(MultiViewFrames(concatenated, rows), row, position), expected)
