"""Stage `submit`: weights of the members, thresholds, and the submission. No network runs."""

import re
from collections.abc import Sequence

import pandas as pd

from birdcache.arrays import Floats32, Floats64
from birdcache.errors import run_stage
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.sections import FittedOn
from birdcache.predict.checked import check_scores
from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from cache import tables
from cache.csv_files import write_csv
from cache.tables import Col
from train.data.examples import read_labels
from train.paths import ENSEMBLE, SCORES, SUBMISSION, THRESHOLDS
from train.score.blend import Blend, HeldOut
from train.score.calibration import Judged, chosen, cross_calibrated, fit_calibrator, judged_by
from train.score.ensemble import Ensemble, write_ensemble
from train.score.out_of_fold import held_windows, read_out_of_fold
from train.score.species import with_species
from train.score.thresholds import Thresholds, fit_thresholds

DATE_OF_2021 = re.compile(r"_[0-9]{8}(?=_[^_]+$)")  # which row_ids leave out of the names of files


def main() -> None:
    """Write data/ensemble.json, reports/thresholds.csv and reports/submission.csv."""
    params = parameters.load()
    labels, names = read_labels(), list(params.members)
    held = read_out_of_fold(names, params.folds.train, params.members[names[0]].view, labels).held
    blend, clips = Blend(params.ensemble.blend, params.ensemble.best), read_clip_scores(SCORES)
    windows = held_windows(clips, labels, params.folds.train)
    fitted_on = chosen(params.ensemble.calibrate_on, windows)
    judged = judged_by(blend, held, windows)[fitted_on]
    ensemble, thresholds = fitted(params, labels, held.weights(blend), fitted_on, judged, clips)
    final_WK = ensemble.final(clips.member_windows(), clips.windows)
    check_scores(final_WK, ENSEMBLE, clips.row_ids.__getitem__)
    final_WK = with_species(params.predict, final_WK, clips)
    submission = submission_table(clips.row_ids, final_WK, labels, ensemble.called_above())
    SUBMISSION.parent.mkdir(parents=True, exist_ok=True)
    write_ensemble(ENSEMBLE, ensemble)
    write_csv(thresholds.table(labels).assign(found_on=ensemble.fitted_on), THRESHOLDS, "%.4f")
    write_csv(submission, SUBMISSION, "%.6f")
    print_result(ensemble, held, submission)


def fitted(
    params: Params, labels: list[str], weights_P: Floats64, fitted_on: FittedOn, judged: Judged, clips: ClipScores
) -> tuple[Ensemble, Thresholds]:
    """The record of all that turns scores of members into final scores, and the thresholds in full."""
    wanted, (scores_NK, held) = params.ensemble, judged
    calibrator = fit_calibrator(scores_NK, held.truth, held.known, wanted.calibration)
    calibrated_NK = cross_calibrated(scores_NK, held, wanted.calibration)
    thresholds = fit_thresholds(held.truth, calibrated_NK, held.known, wanted.threshold_prior, wanted.threshold_for)
    ensemble = Ensemble(
        labels=labels,
        members=dict(zip(params.members, weights_P.tolist(), strict=True)),
        folds=params.folds.train,
        fold_soup=bool(clips.fold_soup),
        kind=wanted.blend,
        best=wanted.best,
        window_s=clips.cutting.window_s,
        hop_s=clips.cutting.hop_s,
        shifts_s=list(clips.cutting.shifts_s),
        calibration=wanted.calibration,
        fitted_on=fitted_on,
        slopes=list(calibrator.slopes),
        offsets=list(calibrator.offsets),
        smoothing=params.predict.smoothing,
        file_max=params.predict.file_max,
        thresholds=thresholds.used.tolist(),
    )
    return ensemble, thresholds


def submission_table(
    row_ids: Sequence[str], scores_NK: Floats32, labels: Sequence[str], above_K: Floats32
) -> pd.DataFrame:
    """Row ids and scores in the form of sample_submission.csv; labels that nothing taught score 0.

    In the forms of 2021 and 2022, scores that reach their thresholds, `above_K`, are named, or True.
    """
    table = tables.SUBMISSION_LABELS.read()
    wanted, form = list(table[Col.LABEL]), "".join(table[Col.COLUMN].unique())
    if unknown := [label for label in wanted if label not in set(labels)]:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        print(f"warning: {len(unknown)} labels of the submission have no recording and score 0: {shown}")
    scores = pd.DataFrame(scores_NK if form == "" else scores_NK >= above_K, columns=list(labels))
    scores = scores.reindex(columns=wanted, fill_value=0.0 if form == "" else False)
    if form == "birds":
        heard = scores.drop(columns="nocall", errors="ignore")
        birds = [" ".join(heard.columns[row]) or "nocall" for row in heard.to_numpy()]
        return pd.DataFrame({Col.ROW_ID: [DATE_OF_2021.sub("", row_id) for row_id in row_ids], form: birds})
    if form == "target":
        parts = [row_id.rpartition("_") for row_id in row_ids]
        names = [f"{soundscape}_{label}_{end}" for soundscape, _, end in parts for label in wanted]
        return pd.DataFrame({Col.ROW_ID: names, form: scores.to_numpy().ravel()})
    scores.insert(0, Col.ROW_ID, list(row_ids))
    return scores


def print_result(ensemble: Ensemble, held: HeldOut, submission: pd.DataFrame) -> None:
    """Print the written files and the weights of the blend."""
    if remark := held.remark(ensemble.blend):
        print(remark)
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in ensemble.members.items())
    print(f"blend {ensemble.kind}: {weights}; calibration and thresholds are fitted on {ensemble.fitted_on}")
    print(f"{SUBMISSION}: {len(submission)} rows, {submission.shape[1]} columns")


if __name__ == "__main__":
    run_stage(main)
