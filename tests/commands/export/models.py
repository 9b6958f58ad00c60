"""Untrained models of any member and recipe, and what the pipeline makes of a waveform with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.whole import spectrogram
from birdcache.bundle.format import Input
from birdcache.bundle.scores import WaveformRows, first_frames
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import AnyView, MelView, PcenParams, PcenView, each_of
from commands.export.graph import WeightedModel
from commands.predict.trained import Model
from pipeline.builder.encode import quantizer_of
from tests.fixtures.tiny import shipped_params
from train.augment.normalise import BinStatistics, channel_count
from train.data.frames import ArrayFrames
from train.data.member import ResolvedMember
from train.data.multi_view import MultiViewFrames
from train.model.classifier import build_model
from train.model.sizes import Clips
from train.model.weights import Sidecar
from train.score.inference import Scorer, clips_at

Floats = npt.NDArray[np.float32]

LABELS = ["a", "b", "c"]
VIEW: dict[str, Any] = {
    "sample_rate_hz": 16000,
    "n_fft": 512,
    "hop": 256,
    "n_mels": 32,
    "mel_scale": "slaney",
    "fmin_hz": 20.0,
}
VIEW |= {"fmin_hz": 20.0, "fmax_hz": 8000.0, "dtype": "float16", "compression": "none"}
PCEN = PcenParams(gain=0.98, bias=2.0, power=0.5, time_constant_s=0.1, eps=4.6e8)


def mel(**changes: Any) -> MelView:
    return MelView(kind="mel", **{**VIEW, **changes})


def pcen(**changes: Any) -> PcenView:
    return PcenView(kind="pcen", pcen=PCEN, **{**VIEW, **changes})


def weighted_model(
    view: AnyView, share: float = 1.0, member: dict[str, Any] | None = None, **override: Any
) -> WeightedModel:
    """An untrained model on a view; keys of its member and its recipe can be changed."""
    raw = shipped_params()
    entry = Member(**{**raw["members"]["base"], **(member or {})})
    recipe = resolve_recipe(Recipe(**raw["train"]["demo"]), {"clip_s": 1.0, "dynamic_range_db": 0.0, **override})
    torch.manual_seed(1)
    clips, channels = Clips(view, recipe.clip_s), channel_count(view, recipe)
    network = build_model(entry, len(LABELS), view.n_mels, False, channels, clips)
    shape = network.bin_mean.shape
    network.statistics = BinStatistics(torch.randn(shape) * 5 - 40, torch.rand(shape) * 10 + 5)
    resolved = ResolvedMember(name="x", member=entry, recipe=recipe, view=view, store_digest="", weights_sha256=None)
    sidecar = Sidecar(labels=LABELS, fold=0, member=resolved, folds_sha256="", sha256={}, metrics={})
    return WeightedModel(Model(sidecar, network.eval()), np.full(1, share, np.float32), shown=True)


def song(samples: int) -> Floats:
    """Noise that grows, with beeps of rising pitch."""
    rng = np.random.default_rng(1)
    time_S = np.arange(samples) / 16000
    beeps_S = np.sin(2 * np.pi * (500 + 300 * time_S) * time_S) * (np.sin(2 * np.pi * 3 * time_S) > 0)
    return (0.2 * beeps_S + 0.02 * (1 + time_S) * rng.standard_normal(samples)).astype(np.float32)


def a_scorer(weighted: WeightedModel, waveform_S: Floats) -> tuple[Scorer, int]:
    """The pipeline's scorer of a waveform, and how many frames that has."""
    views, cpu = each_of(weighted.view), torch.device("cpu")
    codes = [quantizer_of(view).encode(spectrogram(waveform_S, view)) for view in views]
    frames = [ArrayFrames(each, quantizer_of(view), cpu) for each, view in zip(codes, views, strict=True)]
    beside = MultiViewFrames(frames, [np.zeros(1, np.int64)] * len(frames))
    recipe = weighted.model.sidecar.member.recipe
    chosen = frames[0] if len(frames) == 1 else beside
    return Scorer(weighted.model.network, chosen, weighted.view, recipe, cpu), len(codes[0])


def of_pipeline(weighted: WeightedModel, waveform_S: Floats, middle_s: npt.NDArray[np.float64]) -> Floats:
    """Scores of clips around some times, (N, K), as the stages compute them."""
    scorer, frames = a_scorer(weighted, waveform_S)
    return scorer.scores(clips_at(middle_s, 0, frames, weighted.view, weighted.model.clip_frames), 8) * weighted.share


def tuned(weighted: WeightedModel, waveform_S: Floats, middle_s: npt.NDArray[np.float64]) -> None:
    """Let each class's logits of these clips have mean 0 and deviation 2, so that a difference between clips shows."""
    scorer, frames = a_scorer(weighted, waveform_S)
    (logits,) = scorer.logits(clips_at(middle_s, 0, frames, weighted.view, weighted.model.clip_frames), len(middle_s))
    deviation, mean = torch.std_mean(logits.clip, dim=0)
    network: Any = weighted.model.network
    last = network.backbone.get_classifier() if network.head is None else network.head.frames
    with torch.no_grad():
        last.weight.mul_(2 / deviation.reshape(-1, *(1,) * (last.weight.ndim - 1)))
        last.bias.sub_(mean).mul_(2 / deviation)


def rows_of(wanted: Input, waveform_S: Floats, middle_s: npt.NDArray[np.float64]) -> Floats:
    """What the graph is fed for clips around some times: (N, S)."""
    rows = WaveformRows(iter([waveform_S]), len(waveform_S))
    begins = [wanted.begin(first) for first in first_frames(middle_s, len(waveform_S), wanted).tolist()]
    return np.stack([rows.row(begin, wanted.samples) for begin in begins])
