"""A predictor from trained models: the same scores as stages `predict` and `submit`, bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from birdcache.arrays import Floats32
from birdcache.audio.read import DECODER_VERSION
from birdcache.files import canonical_json, sha256_hex
from birdcache.params.views import each_of
from birdcache.predict.predictor import Advance, Facts, FileScores
from birdcache.storage import AnyPath
from commands.predict.trained import LoadedEnsemble, load_ensemble
from commands.predict.trained_scores import score_file
from pipeline.build.frontend import FRONTEND_VERSION
from train.model.classifier import choose_device


class TrainedPredictor:
    """The models of a folder and their ensemble, for `birdcache predict`."""

    def __init__(self, folder: Path, ensemble_file: Path | None, window_s: float | None, device: str) -> None:
        """Load the models; parameters and errors are those of `load_ensemble` and `choose_device`."""
        self._ready = loaded = load_ensemble(folder, ensemble_file, window_s, choose_device(device))
        views = [view for models in loaded.members.values() for view in each_of(models[0].sidecar.member.view)]
        self._facts = Facts(
            digest=digest_of(loaded),
            summary=[*loaded.origin, f"{loaded.models} models on {loaded.device}"],
            labels=loaded.ensemble.labels,
            submission_labels=loaded.submission_labels,
            window_s=loaded.ensemble.window_s,
            low_hz=min(view.fmin_hz for view in views),
            high_hz=max(view.fmax_hz for view in views),
            names=loaded.names,
            jointly=loaded.ensemble.kind == "rank",
        )

    @property
    def facts(self) -> Facts:
        """Facts about the ensemble."""
        return self._facts

    def score(self, path: AnyPath, embed: bool, scratch: Path, advance: Advance, silence: bool = False) -> FileScores:
        """Score a file's windows.

        Raises
        ------
        RejectedAudio
            If the file cannot be read.
        """
        return score_file(path, self._ready, scratch, embed, advance, silence)

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores of the windows of several files: (W, K)."""
        return self._ready.ensemble.final(members_PWK, windows)

    def called_above(self) -> Floats32:
        """Lowest final score at which each class counts as detected: (K,)."""
        return self._ready.ensemble.called_above()


def digest_of(loaded: LoadedEnsemble) -> str:
    """SHA-256 of everything that decides a file's scores: weights, recipes, views, windows, device, versions."""
    models = [
        [name, list(model.trained.values()), model.sidecar.member.model_dump(mode="json")]
        for name, each in loaded.members.items()
        for model in each
    ]
    ensemble = loaded.ensemble.model_dump(include={"labels", "window_s", "hop_s", "shifts_s", "fold_soup"})
    return sha256_hex(canonical_json([models, ensemble, loaded.device.type, FRONTEND_VERSION, DECODER_VERSION]))
