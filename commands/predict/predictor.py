"""Prediction with a project's trained models, with the same scores as stages `predict` and `submit`.

P member, W window, S shift, N clip, T frame, M mel bin, K class."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from birdcache.arrays import Floats32
from birdcache.audio.decoder import decoder, with_second_try
from birdcache.audio.read import SCORING_VERSION
from birdcache.files import canonical_json, sha256_hex
from birdcache.params.views import AnyView, StoredView, stored_views
from birdcache.predict.checked import check_scores, clip_of
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting
from birdcache.predict.predictor import Advance, Facts, FileScores
from birdcache.storage import AnyPath
from cache.quantize import QuantizedArray
from commands.predict.trained import LoadedEnsemble, Model, load_ensemble
from pipeline.builder.encode import decode_quantized, decoder_of, quantized_request, quantizer_of
from pipeline.builder.frontend import FRONTEND_VERSION
from train.data.frames import ArrayFrames, Frames
from train.data.multi_view import MultiViewFrames
from train.model.classifier import choose_device
from train.score.inference import Scorer, clips_at

BATCH = 64  # the shipped predict.batch_size: sums over other batches may differ in the last bit


class OneFile:
    """An audio file, decoded once per view; quantised values are spooled to unnamed temporary files in `scratch`.

    Memory does not grow with the file's length, and clips are scored in the order and the batches of stage `predict`.
    """

    def __init__(self, path: AnyPath, scratch: Path, device: torch.device, silence: bool = False) -> None:
        self._path, self._scratch, self._device, self._silence = path, scratch, device, silence
        self._stored: dict[str, QuantizedArray] = {}
        self._info = with_second_try(lambda: decoder().mixed(path, decoder().info(path)))
        self.duration_s, self.notes = self._info.duration_s, self._info.notes

    def quantized(self, view: StoredView) -> QuantizedArray:
        """Quantised values (T, M), as a store of this view holds them."""
        key = view.model_dump_json()
        if key not in self._stored:
            self._stored[key] = with_second_try(lambda: self._spooled(view))
        return self._stored[key]

    def _spooled(self, view: StoredView) -> QuantizedArray:
        frames = 0
        with tempfile.TemporaryFile(dir=self._scratch) as spool:
            request = quantized_request(self._path, view, None, self._silence, self._info.read_as)
            for quantized in decode_quantized(decoder_of(view), request, self.duration_s):
                spool.write(np.ascontiguousarray(quantized).data.cast("B"))
                frames += len(quantized)
            spool.flush()
            mapped: QuantizedArray = np.memmap(spool, view.dtype, "r", shape=(frames, view.n_mels))
        return mapped

    def frames(self, view: AnyView) -> tuple[Frames, int]:
        """The frames for models of a view, and their number."""
        views = stored_views(view)
        frames = [ArrayFrames(self.quantized(each), quantizer_of(each), self._device) for each in views]
        several = MultiViewFrames(frames, [np.zeros(1, np.int64)] * len(frames))
        return (frames[0] if len(frames) == 1 else several), len(self.quantized(views[0]))

    def scores(self, model: Model, cutting: Cutting) -> Floats32:
        """Scores of the clips by a model, (S, N, K)."""
        member = model.sidecar.member
        frames, count = self.frames(member.view)
        scorer = Scorer(model.network, frames, member.view, member.recipe, self._device)
        middle_SN = cutting.moved_middles_s(self.duration_s)
        clips = clips_at(middle_SN.T.ravel(), 0, count, member.view, model.clip_frames)
        scores_SNK = scorer.scores(clips, BATCH).reshape(*middle_SN.T.shape, -1).swapaxes(0, 1)
        clip = clip_of([self._path.name] * middle_SN.shape[1], middle_SN[0])
        check_scores(scores_SNK, f"model {member.name} of fold {model.sidecar.fold}", clip, axis=1)
        return scores_SNK


def score_file(path: AnyPath, loaded: LoadedEnsemble, scratch: Path, advance: Advance, silence: bool) -> FileScores:
    """Score a file's windows by each member, as the mean over its models.

    A RejectedAudio if the file cannot be read. A TrainError if a model gives anything but scores for it.
    """
    file, cutting = OneFile(path, scratch, loaded.device, silence), loaded.ensemble.cutting
    per_member = []
    for models in loaded.members.values():
        scores = []
        for model in models:
            scores.append(file.scores(model, cutting))
            advance(1 / loaded.models)
        per_member.append(np.mean(scores, axis=0))
    clips = ClipScores.of(list(loaded.members), [(path.name, file.duration_s)], np.stack(per_member), cutting)
    return FileScores(file.duration_s, clips.member_windows(), file.notes)


class TrainedPredictor:
    """The models of a folder and their ensemble, for `birdcache predict`."""

    def __init__(
        self, folder: Path, ensemble_file: Path | None, window_s: float | None, device: str, overlap_s: float | None
    ) -> None:
        """Load the models; parameters and errors are those of `load_ensemble` and `choose_device`."""
        self._loaded = loaded = load_ensemble(folder, ensemble_file, window_s, choose_device(device), overlap_s)
        self.final, self.called_above = loaded.ensemble.final, loaded.ensemble.called_above
        low_hz, high_hz = loaded.band_hz
        self.facts = Facts(
            digest=digest_of(loaded),
            summary=[*loaded.origin, f"models: {loaded.models}, on {loaded.device}"],
            labels=loaded.ensemble.labels,
            submission=loaded.submission,
            window_s=loaded.ensemble.window_s,
            low_hz=low_hz,
            high_hz=high_hz,
            names=loaded.names,
            jointly=loaded.ensemble.kind == "rank",
        )

    def score(self, path: AnyPath, scratch: Path, advance: Advance, silence: bool = False) -> FileScores:
        """Score a file's windows; RejectedAudio if it cannot be read."""
        return score_file(path, self._loaded, scratch, advance, silence)


def digest_of(loaded: LoadedEnsemble) -> str:
    """SHA-256 of everything that decides a file's scores: weights, recipes, views, windows, device, versions."""
    models = [
        [name, list(model.trained.values()), model.sidecar.member.model_dump(mode="json")]
        for name, each in loaded.members.items()
        for model in each
    ]
    ensemble = loaded.ensemble.model_dump(include={"labels", "window_s", "hop_s", "shifts_s"})
    return sha256_hex(canonical_json([models, ensemble, loaded.device.type, FRONTEND_VERSION, SCORING_VERSION]))
