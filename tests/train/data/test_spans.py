"""Examples of annotated times: where their clips lie, what is heard in them, and what training makes of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from birdcache.params.recipe import Recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.data.batch_plan import Planner
from train.data.examples import Events, Examples
from train.data.sampling import clip_positions, clip_starts
from train.data.spans import used_spans, with_annotated_times
from train.loop.validation import split_lines

RandomStore = Callable[..., Store]
CLIP = 20  # frames


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def slow_heard(events: Events, row: int, positions: list[int]) -> tuple[set[int], set[int]]:
    """Classes that are present and touched in one clip, frame by frame."""
    shown = {position for position in positions if position >= 0}
    length = max(shown) + 1 - min(shown)
    present, touched = set(), set()
    for number in np.flatnonzero(events.row == row):
        frames = set(range(events.first[number], events.end[number]))
        common = len(frames & set(range(min(shown), max(shown) + 1)))
        if common:
            touched.add(int(events.label[number]))
        if 2 * common >= min(len(frames), length):
            present.add(int(events.label[number]))
    return present, touched - present


def test_what_is_heard_is_what_a_slow_count_of_frames_says() -> None:
    rng = np.random.default_rng(3)
    rows = np.sort(rng.choice([1, 4, 6], 40))
    first = rng.integers(0, 180, 40)
    events = Events(rows, first, first + rng.integers(1, 60, 40), rng.integers(0, 5, 40))
    row_B = rng.choice([1, 2, 4, 6], 200)
    start_B = rng.integers(-10, 190, 200)
    position_BT = clip_positions(start_B, np.full(200, 200), CLIP, loop=False)
    begin_B, end_B = np.maximum(start_B, 0), np.minimum(start_B + CLIP, 200)
    annotated_B, present_BK, unsure_BK = events.heard(row_B, begin_B, end_B, 5)
    np.testing.assert_array_equal(annotated_B, row_B != 2)
    for clip, row in enumerate(row_B):
        expected = slow_heard(events, row, position_BT[clip].tolist())
        found = (set(np.flatnonzero(present_BK[clip]).tolist()), set(np.flatnonzero(unsure_BK[clip]).tolist()))
        assert found == expected
    assert present_BK.any()
    assert unsure_BK.any()


@pytest.mark.parametrize(
    ("first", "end", "total", "expected"),
    [
        (50, 60, 200, (40, 30)),  # shorter than a clip: a clip that begins anywhere in 40..50 holds it
        (50, 90, 200, (50, 40)),  # longer: a clip lies inside it
        (3, 8, 200, (0, 23)),  # at the beginning
        (190, 200, 200, (180, 20)),  # at the end
        (2, 4, 10, (0, 10)),  # of a recording shorter than a clip
        (50, 70, 200, (50, 20)),  # as long as a clip
    ],
)
def test_spans_hold_the_time(first: int, end: int, total: int, expected: tuple[int, int]) -> None:
    begin, frames = used_spans(ints(first), ints(end), ints(total), CLIP)
    assert (int(begin[0]), int(frames[0])) == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_clip_of_a_span_always_holds_the_time_or_lies_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    total = rng.integers(CLIP, 300, 500)
    first = (rng.random(500) * total).astype(np.int64)
    end = np.minimum(first + rng.integers(1, 80, 500), total)
    begin, frames = used_spans(first, end, total, CLIP)
    start = clip_starts(frames, CLIP, False, rng.random(500))
    position = clip_positions(start, frames, CLIP, False, begin)
    low, high = position.min(axis=1), position.max(axis=1) + 1
    long = end - first >= CLIP
    assert (low >= 0).all()
    assert (high <= total).all()
    assert ((low <= first) & (high >= end))[~long].all()
    assert ((low >= first) & (high <= end))[long].all()


@pytest.fixture
def store(random_store: RandomStore, view: MelView) -> Store:
    return random_store((150, 160, 170), view)


@pytest.fixture
def examples(store: Store, examples_of: Callable[..., Examples]) -> Examples:
    return examples_of(store, [0, 1, 2], secondary=[(0, 2), (1, 0)])


@pytest.fixture
def annotate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: MelView) -> Callable[..., None]:
    """A function that writes data/tables/annotations.csv; times are given in frames."""
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)

    def write(*rows: tuple[str, int, int, str]) -> None:
        frame_s = view.hop / view.sample_rate_hz
        lines = [f"{name},{first * frame_s},{end * frame_s},{label}\n" for name, first, end, label in rows]
        Path("data/tables/annotations.csv").write_text("recording,start_s,end_s,label\n" + "".join(lines))

    return write


def test_without_annotations_examples_stay_as_they_are(
    examples: Examples, store: Store, view: MelView, annotate: Callable[..., None]
) -> None:
    annotate()
    expanded = with_annotated_times(examples, store, view, 0.5)
    for name in ("rows", "part", "first", "frames", "primary", "secondary", "rating"):
        np.testing.assert_array_equal(getattr(expanded, name), getattr(examples, name))


def test_each_time_is_an_example_in_place_of_its_recording(
    examples: Examples, store: Store, view: MelView, annotate: Callable[..., None]
) -> None:
    annotate(("XC1.ogg", 100, 130, "bird2"), ("XC1.ogg", 10, 40, "bird0"), ("elsewhere.ogg", 0, 9, "bird1"))
    clip_s = CLIP * view.hop / view.sample_rate_hz
    expanded = with_annotated_times(examples, store, view, clip_s)
    assert expanded.names == ("XC0.ogg", "XC1.ogg", "XC1.ogg", "XC2.ogg")
    assert expanded.primary.tolist() == [0, 0, 2, 2]
    assert expanded.secondary.tolist()[0] == [False, False, True]
    assert not expanded.secondary[1:].any()
    assert expanded.first.tolist()[1:3] == [10, 100]
    assert expanded.frames.tolist() == [150, 30, 30, 170]
    assert examples.primary.tolist() == [0, 1, 2], "the examples that were given stay"


def test_times_are_told_before_training(
    examples: Examples, store: Store, view: MelView, annotate: Callable[..., None], recipe: Recipe
) -> None:
    annotate(("XC1.ogg", 100, 130, "bird2"), ("XC1.ogg", 10, 40, "bird0"))
    expanded = with_annotated_times(examples, store, view, 0.5)
    assert next(split_lines(expanded, examples, recipe)).startswith("training on 4 recordings and annotated times, ")
    assert next(split_lines(examples, examples, recipe)).startswith("training on 3 recordings, ")


def test_times_behind_the_end_of_the_frames_are_cut(
    examples: Examples, store: Store, view: MelView, annotate: Callable[..., None]
) -> None:
    annotate(("XC0.ogg", 140, 200, "bird1"))
    expanded = with_annotated_times(examples, store, view, CLIP * view.hop / view.sample_rate_hz)
    assert int(expanded.first[0] + expanded.frames[0]) == 150


@pytest.mark.parametrize("policy", ["ignore", "mask", "positive"])
def test_targets_of_a_clip_are_what_is_heard_in_it(
    examples: Examples,
    store: Store,
    view: MelView,
    annotate: Callable[..., None],
    recipe: Recipe,
    policy: str,
) -> None:
    annotate(("XC1.ogg", 50, 60, "bird0"), ("XC1.ogg", 45, 65, "bird2"), ("XC1.ogg", 140, 160, "bird1"))
    clip_s = CLIP * view.hop / view.sample_rate_hz
    secondary = recipe.secondary.model_copy(update={"policy": policy})
    sampling = recipe.sampling.model_copy(update={"weighted": False, "clips_per_epoch": 60})
    changes = {"secondary": secondary, "sampling": sampling, "clip_s": clip_s, "batch_size": 10}
    recipe = recipe.model_copy(update=changes)
    expanded = with_annotated_times(examples, store, view, clip_s)
    planner = Planner(expanded, view, recipe)
    assert planner.class_counts.tolist() == [2, 1, 2]
    seen = 0
    for plan in planner.epoch(0):
        rows, positions = planner.clips_of(plan)
        for number in range(plan.size):
            if rows[number] != examples.rows[1]:
                continue
            seen += 1
            assert expanded.events is not None
            present, unsure = slow_heard(expanded.events, int(rows[number]), positions[number].tolist())
            assert set(np.flatnonzero(plan.targets[number])) == present
            assert set(np.flatnonzero(plan.weights[number] == 0)) == unsure
    assert seen > 20


def test_a_subset_keeps_its_times(examples: Examples) -> None:
    events = Events(ints(0), ints(1), ints(2), ints(0))
    assert replace(examples, events=events).subset([1]).events is events
