"""Scores of all clips of all soundscapes by every member: what post-processing needs instead of a network.

P member, S move (the clips as they are, then each shift), R soundscape, N clip of all soundscapes, K class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.errors import TrainError
from birdcache.npz import read_npz, write_npz
from birdcache.predict.checked import check_scores, clip_of
from birdcache.predict.postprocess import Cutting, nearest_clips, window_scores, windows_in
from birdcache.text import seconds_text

KINDS = "U1 U1 f1 i1 f1 f4 f0 f0 f1"  # of the arrays in a file, in their order below
AGAIN = "run `dvc repro -f predict`"


@dataclass(frozen=True)
class ClipScores:
    """Scores of clips that follow each other, soundscape by soundscape."""

    members: npt.NDArray[np.str_]  # (P,)
    soundscapes: npt.NDArray[np.str_]  # (R,)
    duration_s: Floats64  # (R,)
    clips: Ints  # (R,) clips of each soundscape
    middle_s: Floats64  # (N,) where the clips that are not moved have their middle
    scores: Floats32  # (P, S, N, K)
    window_s: Floats64  # (), of the submission
    hop_s: Floats64  # ()
    shifts_s: Floats64  # (S - 1,)

    @staticmethod
    def of(
        members: Sequence[str], soundscapes: Sequence[tuple[str, float]], scores_PSNK: Floats32, cutting: Cutting
    ) -> ClipScores:
        """The scores of soundscapes (name, duration in seconds) that were cut in this way."""
        duration_s = np.array([each for _, each in soundscapes], np.float64)
        middles = [cutting.middles_s(each) for each in duration_s.tolist()]
        return ClipScores(
            members=np.array(members, str),
            soundscapes=np.array([name for name, _ in soundscapes], str),
            duration_s=duration_s,
            clips=np.array([len(each) for each in middles], np.int64),
            middle_s=np.concatenate([np.empty(0), *middles]),
            scores=np.asarray(scores_PSNK, np.float32),
            window_s=np.array(cutting.window_s),
            hop_s=np.array(cutting.hop_s),
            shifts_s=np.array(cutting.shifts_s, np.float64),
        )

    @property
    def cutting(self) -> Cutting:
        """The cutting of the soundscapes into clips."""
        return Cutting(float(self.window_s), float(self.hop_s), tuple(self.shifts_s.tolist()))

    @property
    def windows(self) -> list[int]:
        """Windows of each soundscape."""
        return [windows_in(duration_s, float(self.window_s)) for duration_s in self.duration_s.tolist()]

    @property
    def row_ids(self) -> list[str]:
        """One per window, as Kaggle names them: `<soundscape>_<second at which the window ends>`."""
        named = zip(self.soundscapes.tolist(), self.windows, strict=True)
        return [row_id for name, windows in named for row_id in window_ids(name, windows, float(self.window_s))]

    def member_windows(self, overlap: bool = True, shifts: bool = True) -> Floats32:
        """Scores of the windows of all soundscapes by each member: (P, windows, K).

        Parameters
        ----------
        overlap : whether a window has the mean of all clips that overlap it, or the score of its own clip alone.
        shifts : whether moved clips are averaged with the others.
        """
        make = window_scores if overlap else nearest_clips
        parts = [np.empty((0, len(self.members), self.scores.shape[-1]), np.float32)]
        ends = np.cumsum(self.clips).tolist()
        for end, count, windows in zip(ends, self.clips.tolist(), self.windows, strict=True):
            clips = slice(end - count, end)
            scores_NPK = self.scores[:, : None if shifts else 1, clips].mean(axis=1).swapaxes(0, 1)
            parts.append(make(self.middle_s[clips], scores_NPK, windows, float(self.window_s)))
        return np.concatenate(parts).swapaxes(0, 1)

    def write(self, path: Path) -> None:
        """Write a .npz file."""
        write_npz(path, {field.name: getattr(self, field.name) for field in fields(self)})


def read_clip_scores(path: Path) -> ClipScores:
    """Read what `ClipScores.write` wrote; a TrainError if it is anything else, or any score no number from 0 to 1."""
    kinds = dict(zip((field.name for field in fields(ClipScores)), KINDS.split(), strict=True))
    found = ClipScores(**read_npz(path, kinds, AGAIN))
    counted = (len(found.members), 1 + len(found.shifts_s), len(found.middle_s))
    if found.scores.shape[:3] != counted or found.clips.sum() != counted[2] or len(found.clips) != len(found.windows):
        raise TrainError(f"{path}: its arrays do not belong together; {AGAIN}")
    clip = clip_of(np.repeat(found.soundscapes, found.clips).tolist(), found.middle_s)
    for member, scores_SNK in zip(found.members.tolist(), found.scores, strict=True):
        check_scores(scores_SNK, f"{path}: member {member}", clip, axis=1)
    return found


def window_ids(name: str, windows: int, window_s: float) -> list[str]:
    """Row ids of a soundscape's windows."""
    return [f"{name}_{seconds_text((number + 1) * window_s)}" for number in range(windows)]
