"""A project's trained models as what predicts: the numbers of stages `predict` and `submit`, bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from birdcache.arrays import Floats32
from birdcache.audio.read import DECODER_VERSION
from birdcache.files import canonical_json, sha256_hex
from birdcache.params.views import each_of
from birdcache.predict.predictor import Advance, Facts, FileScores
from birdcache.storage import AnyPath
from commands.predict.trained import Ready, make_ready
from commands.predict.trained_scores import score_file
from pipeline.build.frontend import FRONTEND_VERSION
from train.model.classifier import choose_device


class TrainedPredictor:
    """Models of a folder, and the ensemble they belong to."""

    def __init__(self, folder: Path, ensemble_file: Path | None, window_s: float | None, device: str) -> None:
        """Load them; parameters and errors as in `make_ready` and `choose_device`."""
        self._ready = ready = make_ready(folder, ensemble_file, window_s, choose_device(device))
        views = [view for models in ready.members.values() for view in each_of(models[0].sidecar.member.view)]
        self._facts = Facts(
            digest=digest_of(ready),
            said=[*ready.said, f"{ready.models} models on {ready.device}"],
            labels=ready.ensemble.labels,
            submission_labels=ready.submission_labels,
            window_s=ready.ensemble.window_s,
            low_hz=min(view.fmin_hz for view in views),
            high_hz=max(view.fmax_hz for view in views),
            names=ready.names,
            jointly=ready.ensemble.kind == "rank",
        )

    @property
    def facts(self) -> Facts:
        """What is known before any file is looked at."""
        return self._facts

    def score(self, path: AnyPath, embed: bool, room: Path, advance: Advance, silence: bool = False) -> FileScores:
        """Score a file's windows.

        Raises
        ------
        Refusal
            If the file cannot be read.
        """
        return score_file(path, self._ready, room, embed, advance, silence)

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores of the windows of several files: (W, K)."""
        return self._ready.ensemble.final(members_PWK, windows)

    def called_above(self) -> Floats32:
        """From which final score on each class counts as detected: (K,)."""
        return self._ready.ensemble.called_above()


def digest_of(ready: Ready) -> str:
    """SHA-256 of all that decides what members say of a file: weights, recipes, views, cutting, device, versions."""
    models = [
        [name, list(model.trained.values()), model.sidecar.member.model_dump(mode="json")]
        for name, each in ready.members.items()
        for model in each
    ]
    ensemble = ready.ensemble.model_dump(include={"labels", "window_s", "hop_s", "shifts_s", "fold_soup"})
    return sha256_hex(canonical_json([models, ensemble, ready.device.type, FRONTEND_VERSION, DECODER_VERSION]))
