"""Scores of clips on disk, and the windows that are made of them without a network."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from birdcache.npz import write_npz
from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from birdcache.predict.postprocess import Cutting, window_scores

SOUNDSCAPES = [("dawn", 15.0), ("dusk", 5.0), ("night", 11.0)]


@pytest.fixture
def clips() -> ClipScores:
    """Two members, two moves, nine clips of three soundscapes every 2.5 s, four classes."""
    scores = np.random.default_rng(1).random((2, 2, 11, 4)).astype(np.float32)
    return ClipScores.of(["one", "two"], SOUNDSCAPES, scores, Cutting(5.0, 2.5, (1.0,)))


def test_clips_and_windows_are_counted_by_soundscape(clips: ClipScores) -> None:
    assert clips.clips.tolist() == [5, 1, 5]
    assert clips.windows == [3, 1, 3]
    assert clips.middle_s.tolist() == [2.5, 5, 7.5, 10, 12.5, 2.5, 2.5, 5, 7.5, 10, 12.5]
    assert clips.cutting == Cutting(5.0, 2.5, (1.0,))


def test_rows_are_named_by_the_second_at_which_their_window_ends(clips: ClipScores) -> None:
    assert clips.row_ids == ["dawn_5", "dawn_10", "dawn_15", "dusk_5", "night_5", "night_10", "night_15"]
    half = ClipScores.of(["one"], [("dawn", 5.0)], np.zeros((1, 1, 2, 4), np.float32), Cutting(2.5, 2.5))
    assert half.row_ids == ["dawn_2.5", "dawn_5"]


def test_windows_are_those_of_each_soundscape_alone(clips: ClipScores) -> None:
    found = clips.member_windows()
    assert found.shape == (2, 7, 4)
    mean = clips.scores.mean(axis=1)
    for member in range(2):
        dawn = window_scores(clips.middle_s[:5], mean[member, :5], 3, 5.0)
        night = window_scores(clips.middle_s[6:], mean[member, 6:], 3, 5.0)
        assert found[member] == pytest.approx(np.concatenate([dawn, mean[member, 5:6], night]))


def test_overlap_and_moves_can_be_left_out(clips: ClipScores) -> None:
    own = [0, 2, 4, 5, 6, 8, 10]  # the clips in the middle of their windows
    assert np.array_equal(clips.member_windows(overlap=False, shifts=False), clips.scores[:, 0, own])
    assert clips.member_windows(overlap=False) == pytest.approx(clips.scores[:, :, own].mean(axis=1))
    unmoved = ClipScores.of(["one", "two"], SOUNDSCAPES, clips.scores[:, :1], Cutting(5.0, 2.5))
    assert clips.member_windows(shifts=False) == pytest.approx(unmoved.member_windows())


def test_what_is_written_is_read(clips: ClipScores, tmp_path: Path) -> None:
    clips.write(tmp_path / "new/scores.npz")
    found = read_clip_scores(tmp_path / "new/scores.npz")
    for field in fields(ClipScores):
        assert np.array_equal(getattr(found, field.name), getattr(clips, field.name)), field.name


def test_a_file_with_an_array_of_before_is_read(clips: ClipScores, tmp_path: Path) -> None:
    arrays = {field.name: getattr(clips, field.name) for field in fields(ClipScores)}
    write_npz(tmp_path / "old.npz", {**arrays, "fold_soup": np.array(False)})
    assert read_clip_scores(tmp_path / "old.npz").row_ids == clips.row_ids


def test_without_soundscapes_there_is_no_window(tmp_path: Path) -> None:
    none = ClipScores.of(["one"], [], np.empty((1, 2, 0, 4), np.float32), Cutting(5.0, 2.5, (1.0,)))
    none.write(tmp_path / "scores.npz")
    found = read_clip_scores(tmp_path / "scores.npz")
    assert found.member_windows().shape == (1, 0, 4)
    assert found.row_ids == []
