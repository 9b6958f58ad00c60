"""One torch module for a whole ensemble, exported as ONNX: waveforms in, blended scores out.

B batch, S sample, L frame with context, T frame of a clip, M mel bin, C channel, K class, E feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from birdcache.arrays import Floats32
from birdcache.bundle.format import OUTSIDE_ABOVE, Input
from birdcache.params.embedding import StoredEmbedding
from birdcache.params.views import AnyView, MelView, PcenView, each_of, stored_views
from cache.quantize import Quantizer
from commands.export.probe import ProbedWindows
from commands.export.spectrum import Pcen, PowerSpectrum, context_frames, decibels, mel_rows
from commands.predict.trained import Model
from pipeline.builder.encode import quantizer_of
from train.augment.normalise import Normaliser, as_images
from train.model.classifier import features_and_logits
from train.model.losses import scores
from train.score.inference import mean_logits, rolled

View = MelView | PcenView
# sample rate, hop, frames of a clip, view of a probe: models with the same grid share a waveform
Grid = tuple[int, int, int, StoredEmbedding | None]


@dataclass(frozen=True)
class WeightedModel:
    """A trained model with its share in the blend; `shown` marks those whose features are the embedding."""

    model: Model
    share: Floats32  # of each class's score, (K,), or of all, (1,)
    shown: bool

    @property
    def view(self) -> AnyView:
        """The model's view or views."""
        return self.model.sidecar.member.view

    @property
    def grid(self) -> Grid:
        """Positions of its frames, and the network behind them if it is a probe."""
        view, frames = self.view, self.model.clip_frames
        return view.sample_rate_hz, view.hop, frames, view if isinstance(view, StoredEmbedding) else None


class EnsembleGraph(nn.Module):
    """All members and folds of an ensemble, with one waveform for each grid.

    Probes listen to a network that is no part of this module: it gives the windows of their waveforms as well,
    (B, T, S) for each grid of probes, and takes what their network says of these, (B, T, M), behind all waveforms.
    """

    def __init__(self, models: Sequence[WeightedModel]) -> None:
        super().__init__()
        grids = sorted(dict.fromkeys(weighted.grid for weighted in models), key=lambda grid: grid[3] is not None)
        self.grid_models = nn.ModuleList(GridModels([m for m in models if m.grid == grid]) for grid in grids)
        self._shown = [n for grid in grids for n, m in enumerate(models) if m.grid == grid and m.shown]
        grid_models: Any = self.grid_models
        names = ["waveform", *(f"waveform_{number}" for number in range(2, len(grids) + 1))]
        self.inputs = [each.described(name) for each, name in zip(grid_models, names, strict=True)]
        ends = [each.front_end for each in grid_models]
        self.probed = [each for each in ends if isinstance(each, ProbedWindows)]

    @property
    def embedding(self) -> int:
        """Number of features, E."""
        with torch.no_grad():
            return int(self.eval()(*self.silence(1))[1].shape[1])

    def silence(self, batch: int) -> tuple[Tensor, ...]:
        """All that it takes for so many silent clips."""
        rows = [torch.zeros(batch, each.samples) for each in self.inputs]
        return *rows, *(torch.zeros(batch, each.windows, each.view.n_mels) for each in self.probed)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Scores (B, K) and embedding (B, E) of the clips in the waveforms; then the windows for probes' networks."""
        waveforms, embedded = inputs[: len(self.inputs)], inputs[len(self.inputs) :]
        first = len(waveforms) - len(embedded)  # of the waveforms of probes
        windows = [each.cut(waveform) for each, waveform in zip(self.probed, waveforms[first:], strict=True)]
        taken = [*((waveform,) for waveform in waveforms[:first]), *zip(waveforms[first:], embedded, strict=True)]
        pairs = [score(*given) for score, given in zip(self.grid_models, taken, strict=True)]
        scores_BK = torch.stack([scored for scored, _ in pairs]).sum(dim=0)
        shown = zip(self._shown, (features for _, each in pairs for features in each), strict=True)
        embedding_BE = torch.cat([features for _, features in sorted(shown, key=itemgetter(0))], dim=1)
        return scores_BK, embedding_BE, *windows


class GridModels(nn.Module):
    """The models that share a grid, and so a waveform and a front end."""

    def __init__(self, models: Sequence[WeightedModel]) -> None:
        super().__init__()
        *self._grid, probed = models[0].grid
        views = {view.model_dump_json(): view for weighted in models for view in each_of(weighted.view)}
        self.front_end = (
            ProbedWindows(probed, self._grid[2]) if probed else FrontEnd(list(views.values()), *self._grid[1:])
        )
        self.heads = nn.ModuleList(MemberNetwork(weighted) for weighted in models)

    def described(self, name: str) -> Input:
        """The samples of its waveform, as `bundle.json` describes them."""
        grid = dict(zip(("sample_rate_hz", "hop", "clip_frames"), self._grid, strict=True))
        return Input(name=name, **grid, **self.front_end.reach)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The models' part of the scores, (B, K), and the features (B, E) of each model in the embedding."""
        stored, exists_BT = self.front_end(*inputs)
        outputs = [head(stored, exists_BT) for head in self.heads]
        shown = [embedding for head, (_, embedding) in zip(self.heads, outputs, strict=True) if head.shown]
        return torch.stack([scored for scored, _ in outputs]).sum(dim=0), shown


class FrontEnd(nn.Module):
    """The front ends of all views of a grid: a waveform in, values as read from a store out."""

    def __init__(self, views: Sequence[View], hop: int, clip_frames: int) -> None:
        super().__init__()
        self._hop, self._context = hop, max(map(context_frames, views))
        self._margin = margin = max(view.n_fft for view in views) // 2
        self.reach, context = {"context_frames": self._context, "margin": margin}, self._context
        frames = context + clip_frames
        lengths = list(dict.fromkeys((view.n_fft, view.window) for view in views))
        self.spectra = nn.ModuleDict(
            {f"{n}_{window}": PowerSpectrum(n, hop, frames, margin - n // 2, window) for n, window in lengths}
        )
        self.levels = nn.ModuleList(Level(view, clip_frames, context) for view in views)
        self.keys = [view.model_dump_json() for view in views]

    def forward(self, waveform_BS: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Values (B, T, M) of each view by its key, and a mask (B, T) of the frames inside the recording."""
        outside_BS = waveform_BS > OUTSIDE_ABOVE
        heard_BS = waveform_BS * (~outside_BS).float()
        end = waveform_BS.shape[1] - self._margin + 1
        exists_BL = (~outside_BS[:, self._margin : end : self._hop]).float()
        spectra = {lengths: spectrum(heard_BS) for lengths, spectrum in self.spectra.items()}
        values = [level(spectra[str(level.lengths)], exists_BL) for level in self.levels]
        return dict(zip(self.keys, values, strict=True)), exists_BL[:, self._context :]


class Level(nn.Module):
    """Values of a view from a power spectrum, rounded to the quantised values of its store."""

    mel: Tensor  # (M, F)

    def __init__(self, view: View, frames: int, context: int) -> None:
        super().__init__()
        self.lengths, self._quantizer, self._view = f"{view.n_fft}_{view.window}", quantizer_of(view), view
        self.register_buffer("mel", torch.from_numpy(np.ascontiguousarray(mel_rows(view).T)))
        self._context, rate = context, view.sample_rate_hz / view.hop
        self.pcen = nn.Identity() if isinstance(view, MelView) else Pcen(view.pcen, rate, frames, context)

    def forward(self, power_BFL: Tensor, exists_BL: Tensor) -> Tensor:
        """Values (B, T, M)."""
        view = self._view
        spectrum_BFL = power_BFL.sqrt() if isinstance(view, MelView) and view.power == 1 else power_BFL
        mel_BLM = (self.mel @ spectrum_BFL).transpose(1, 2)
        if isinstance(view, MelView):
            return rounded(decibels(mel_BLM[:, self._context :], view), self._quantizer)
        return rounded(self.pcen(mel_BLM, exists_BL), self._quantizer)


def rounded(values: Tensor, quantizer: Quantizer) -> Tensor:
    """Values after a round trip through a store; see `cache.quantize`."""
    if quantizer.dtype == "float16":
        return values.half().float()
    quantized = ((values - quantizer.low) / quantizer.step).round().clamp(0, 254)
    return quantized * quantizer.step + quantizer.low


class MemberNetwork(nn.Module):
    """A trained model with its normalisation and its share in the blend."""

    share: Tensor  # (K,) or (1,)

    def __init__(self, weighted: WeightedModel) -> None:
        super().__init__()
        member = weighted.model.sidecar.member
        self.network, self.shown = weighted.model.network, weighted.shown
        for module in self.network.modules():
            if hasattr(module, "fused_attn"):  # whose result torch cannot convert to ONNX
                setattr(module, "fused_attn", False)  # noqa: B010
        self.register_buffer("share", torch.from_numpy(weighted.share))
        self._loops = member.recipe.short == "loop"  # else short recordings are padded
        self._rolls = member.recipe.rolls
        self._loss, views = member.recipe.loss, stored_views(weighted.view)
        self._keys = [view.model_dump_json() for view in views]
        self._lows = [quantizer_of(view).low for view in views]
        self._normaliser = Normaliser(weighted.view, member.recipe, self.network.statistics)

    def forward(self, stored: dict[str, Tensor], exists_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The model's share of the scores, (B, K), and its features, (B, E)."""
        clips = [self._filled(stored[key], exists_BT, low) for key, low in zip(self._keys, self._lows, strict=True)]
        images = as_images(self._normaliser(torch.cat(clips, dim=2)))
        found = [features_and_logits(self.network, each) for each in rolled(images, self._rolls)]
        logits_BK = mean_logits([logits for _, logits in found]).clip
        return scores(logits_BK, self._loss) * self.share, found[0][0]

    def _filled(self, values_BTM: Tensor, exists_BT: Tensor, low: float) -> Tensor:
        """Values with frames after the end of a short recording filled: by repetition, or by the lowest value."""
        if not self._loops:
            return torch.where(exists_BT[:, :, None] > 0, values_BTM, low)
        count_B1 = exists_BT.sum(dim=1, keepdim=True).clamp(min=1)
        frame_T = torch.arange(exists_BT.shape[1], dtype=torch.float32)
        place_BT = frame_T - (frame_T / count_B1).floor() * count_B1
        return values_BTM.gather(1, place_BT.long()[:, :, None].expand(-1, -1, values_BTM.shape[2]))
