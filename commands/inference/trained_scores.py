"""What the members of an ensemble say of one audio file. P member, W window, S shift, N clip, T frame, M mel bin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from commands.inference.trained import Model, Ready
from pipeline.codes import codec_of
from pipeline.decoder.parent import decoder, with_second_try
from pipeline.frontend import value_range
from schema.views import AnyView, MelView, PcenView, each_of
from train.clips.residence import ArrayFrames, Frames
from train.clips.side_by_side import SideBySideFrames
from train.scoring.clip_scores import ClipScores
from train.scoring.inference import Floats, Scorer
from train.scoring.postprocess import Cutting

BATCH = 64


@dataclass(frozen=True)
class FileScores:
    """Scores of a file's windows by each member: (P, W, K)."""

    path: Path
    duration_s: float
    members: Floats


@dataclass
class OneFile:
    """An audio file, decoded once for each view that models look at."""

    path: Path
    device: torch.device

    def __post_init__(self) -> None:
        self._stored: dict[str, tuple[Floats, float]] = {}

    def values(self, view: MelView | PcenView) -> tuple[Floats, float]:
        """What a store of this view would give back, (T, M), and the file's duration in seconds."""
        key = view.model_dump_json()
        if key not in self._stored:
            self._stored[key] = stored_values(self.path, view)
        return self._stored[key]

    def frames(self, view: AnyView) -> tuple[Frames, int]:
        """Where models read its frames, and how many there are."""
        views = each_of(view)
        values = [self.values(each)[0] for each in views]
        pairs = zip(values, views, strict=True)
        frames = [ArrayFrames(each_TM, value_range(each)[0], self.device) for each_TM, each in pairs]
        beside = SideBySideFrames(frames, [np.zeros(1, np.int64)] * len(frames))
        return (frames[0] if len(frames) == 1 else beside), len(values[0])

    def scores(self, model: Model, cutting: Cutting) -> tuple[Floats, float]:
        """Scores of its clips by a model, (S, N, K), and its duration in seconds."""
        view, recipe = model.sidecar.member.view, model.sidecar.member.recipe
        duration_s = self.values(each_of(view)[0])[1]
        frames, count = self.frames(view)
        scorer = Scorer(model.network, frames, view, recipe, self.device)
        return scorer.scores_along(0, count, duration_s, cutting, BATCH), duration_s


def score_file(path: Path, ready: Ready) -> FileScores:
    """Scores of a file's windows by each member: the mean over its models."""
    file, cutting = OneFile(path, ready.device), ready.ensemble.cutting
    per_member, duration_s = [], 0.0
    for models in ready.members.values():
        scores, durations_s = zip(*(file.scores(model, cutting) for model in models), strict=True)
        per_member.append(np.mean(scores, axis=0))
        duration_s = durations_s[0]
    clips = ClipScores.of(list(ready.members), [(path.name, duration_s)], np.stack(per_member), cutting)
    return FileScores(path, duration_s, clips.member_windows())


def stored_values(path: Path, view: MelView | PcenView) -> tuple[Floats, float]:
    """What a store of this view would give back for a file, (T, M), and the file's duration in seconds."""

    def decoded() -> tuple[Floats, float]:
        duration_s = decoder().header(path).duration_s
        codes = np.concatenate(list(decoder().codes(path, view, duration_s)))
        return codec_of(view).decode(codes), duration_s

    return with_second_try(decoded)
