"""Tables of stage `evaluate`: the gain by each member, blend and step of post-processing.

P member, N window, K class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from birdcache.arrays import Bools, Floats32, Ints
from birdcache.params.sections import PredictParams
from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from birdcache.predict.postprocess import Kernel, PostProcessing, by_soundscape
from train.paths import SCORES
from train.score.blend import BLENDS, HeldOut, log_loss
from train.score.ensemble import ENSEMBLE, Ensemble
from train.score.metrics import recording_metrics, window_metrics
from train.score.out_of_fold import OutOfFold
from train.score.species import with_species
from train.score.truth import WindowTruth, read_held_out, read_truth

Scores = dict[str, dict[str, float]]  # on which data -> metric -> value
WINDOWS, EXAM, LIST = "windows", "soundscapes", "species list"
USUAL = PostProcessing(smoothing=0.1, file_max=1.0)  # tried for a step that is off


@dataclass(frozen=True)
class Windows:
    """The windows of all soundscapes."""

    clips: ClipScores
    truths: dict[str, WindowTruth]  # of WINDOWS that folds hold out, and of the EXAM
    scores: dict[str, Floats32]  # member or ensemble -> (N, K)

    @property
    def soundscapes(self) -> Ints:
        """(N,) which soundscape each window is of."""
        return np.repeat(np.arange(len(self.clips.windows)), self.clips.windows)

    @property
    def truth(self) -> Bools:
        """(N, K) species that sing, by either truth."""
        return np.asarray(np.any([truth.sings for truth in self.truths.values()], axis=0))

    @property
    def has_truth(self) -> Bools:
        """(N,) windows that a truth has a row for."""
        return np.asarray(np.any([truth.known for truth in self.truths.values()], axis=0))

    @property
    def measured(self) -> list[str]:
        """The data that has a truth."""
        return [data for data, truth in self.truths.items() if truth.known.any()]

    def metrics(self, scores_NK: Floats32, data: str) -> dict[str, float]:
        """Metrics over the windows of some data that have a truth."""
        truth = self.truths[data]
        return window_metrics(truth.sings[truth.known], scores_NK[truth.known])


def read_windows(labels: list[str], ensemble: Ensemble) -> Windows:
    """Final scores of all windows beside their truth, as far as there is one; each member also alone."""
    clips = read_clip_scores(SCORES)
    row_ids = clips.row_ids
    truths = {
        WINDOWS: read_held_out(row_ids, labels, ensemble.window_s, ensemble.folds),
        EXAM: read_truth(row_ids, labels),
    }
    for data, truth in truths.items():
        if truth.warning:
            print(f"warning: {data}: {truth.warning}")
    members_PNK = clips.member_windows()
    alone = [by_soundscape(ensemble.post, scores_NK, clips.windows) for scores_NK in members_PNK]
    scores = dict(zip(clips.members.tolist(), alone, strict=True))
    scores[ENSEMBLE] = ensemble.final(members_PNK, clips.windows)
    return Windows(clips, truths, scores)


def member_table(predicted: OutOfFold, held: HeldOut, windows: Windows, ensemble: Ensemble) -> pd.DataFrame:
    """Each member's weight, its metrics alone, those of the ensemble without it, and what it adds to the ensemble.

    Out of fold, and on windows that have a truth. The ensemble without it learns its weights again; a member
    that is the only one adds an unknown amount.
    """
    names = list(ensemble.members)
    whole = _both(predicted, windows, predicted.scores[ENSEMBLE], windows.scores[ENSEMBLE])
    rows = []
    for number, name in enumerate(names):
        alone = _both(predicted, windows, predicted.scores[name], windows.scores[name])
        others = [each for each in range(len(names)) if each != number]
        without = _without(predicted, held, windows, ensemble, others) if others else {}
        for data, metrics in alone.items():
            row: dict[str, object] = {"data": data, "member": name, "weight": ensemble.members[name]}
            for metric, value in metrics.items():
                left = without.get(data, {}).get(metric, float("nan"))
                row |= {metric: value, f"{metric}_without": left, f"{metric}_adds": whole[data][metric] - left}
            rows.append(row)
    return pd.DataFrame(rows).sort_values("data", kind="stable", ignore_index=True)


def _without(predicted: OutOfFold, held: HeldOut, windows: Windows, ensemble: Ensemble, others: list[int]) -> Scores:
    """Metrics of the ensemble of the other members."""
    smaller, blend = held.members(others), ensemble.blend.of(others)
    members_PNK = windows.clips.member_windows()[others]
    windows_NK = by_soundscape(ensemble.post, blend(members_PNK, smaller.weights(blend)), windows.clips.windows)
    return _both(predicted, windows, smaller.blended(blend), windows_NK)


def _both(predicted: OutOfFold, windows: Windows, recordings_NK: Floats32, windows_NK: Floats32) -> Scores:
    """Macro ROC-AUC and cmAP out of fold, and on the windows that have a truth."""
    examples = predicted.examples
    found = {"out of fold": recording_metrics(examples.primary, examples.unjudged, recordings_NK)}
    found |= {data: windows.metrics(windows_NK, data) for data in windows.measured}
    return {data: {"auc": metrics["macro_roc_auc"], "cmap": metrics["cmap"]} for data, metrics in found.items()}


def blend_table(predicted: OutOfFold, held: HeldOut, windows: Windows, ensemble: Ensemble) -> pd.DataFrame:
    """Every blend of these members out of fold, and on windows that have a truth."""
    members_PNK = windows.clips.member_windows()
    rows = []
    for kind in dict.fromkeys((*BLENDS, ensemble.kind)):
        blend = replace(ensemble.blend, kind=kind)
        recordings_NK, blended_NK = held.blended(blend), blend(members_PNK, held.weights(blend))
        windows_NK = by_soundscape(ensemble.post, blended_NK, windows.clips.windows)
        loss = log_loss(recordings_NK, held.truth, held.known)
        row: dict[str, object] = {"blend": kind, "used": "yes" if kind == ensemble.kind else "no", "log_loss": loss}
        for data, metrics in _both(predicted, windows, recordings_NK, windows_NK).items():
            row |= {f"{data} {metric}": value for metric, value in metrics.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def postprocessing_table(windows: Windows, ensemble: Ensemble, predict: PredictParams) -> pd.DataFrame:
    """The gain of each step over one clip a window, and of all enabled steps together; empty without a truth.

    Of smoothing and the file's maximum a usual value is tried where it is off. A list of species, if there is one,
    gains over all the others together.
    """
    columns, rows = ["data", "step", "used", "macro_roc_auc", "auc_gain", "cmap", "cmap_gain"], []
    steps = _steps(windows, ensemble, predict) if windows.measured else []
    for data in windows.measured:
        plain, whole = (windows.metrics(each, data) for each in (_plain(windows, ensemble), windows.scores[ENSEMBLE]))
        for step, is_used, scores_NK in steps:
            metrics, before = windows.metrics(scores_NK, data), whole if step.startswith(LIST) else plain
            auc, cmap = metrics["macro_roc_auc"], metrics["cmap"]
            used = "yes" if is_used else "no"
            rows.append((data, step, used, auc, auc - before["macro_roc_auc"], cmap, cmap - before["cmap"]))
    return pd.DataFrame(rows, columns=columns)


def _steps(windows: Windows, ensemble: Ensemble, predict: PredictParams) -> list[tuple[str, bool, Floats32]]:
    """Each step: what it is, whether it is on, and the scores that it alone leads to."""
    cutting, post = ensemble.cutting, ensemble.post
    smoothing, file_max = post.smoothing or USUAL.smoothing, post.file_max or USUAL.file_max
    steps = [("one clip a window", True, _plain(windows, ensemble))]
    if cutting.hop_s < cutting.window_s:
        steps.append((f"a clip every {cutting.hop_s:g} s", True, _plain(windows, ensemble, overlap=True)))
    if cutting.shifts_s:
        moved = ", ".join(f"{shift_s:g}" for shift_s in cutting.shifts_s)
        steps.append((f"clips moved by {moved} s", True, _plain(windows, ensemble, shifts=True)))
    taps = "of each class" if np.ndim(smoothing) == 2 else ", ".join(f"{tap:g}" for tap in np.atleast_1d(smoothing))
    loudest = "file maximum" if ensemble.top_k == 1 else f"mean of the file's {ensemble.top_k} highest"
    steps += [
        (f"smoothing {taps}", bool(post.smoothing), _plain(windows, ensemble, smoothing)),
        (f"{loudest} ** {file_max:g}", post.file_max > 0, _plain(windows, ensemble, file_max=file_max)),
        ("all that is used", True, windows.scores[ENSEMBLE]),
    ]
    listed_NK = with_species(predict, windows.scores[ENSEMBLE], windows.clips)  # as they are without a list
    if predict.species is not None:
        steps.append((f"{LIST} {predict.species}, weight {predict.species_weight:g}", True, listed_NK))
    return steps


def _plain(
    windows: Windows,
    ensemble: Ensemble,
    smoothing: Kernel | Sequence[Sequence[float]] = 0.0,
    file_max: float = 0.0,
    overlap: bool = False,
    shifts: bool = False,
) -> Floats32:
    """Scores of the windows by one clip each, with the requested steps only: (N, K)."""
    only = ensemble.model_copy(update={"smoothing": smoothing, "file_max": file_max})
    return only.final(windows.clips.member_windows(overlap, shifts), windows.clips.windows)
