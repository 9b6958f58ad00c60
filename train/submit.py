"""Stage `submit`: weights of the members, thresholds, and the submission. No network runs."""

import pandas as pd

from birdcache.arrays import Floats64
from birdcache.errors import run_stage
from birdcache.files import write_rows
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.sections import OTHERS, FileMaxParams, FittedOn, ThresholdWish
from birdcache.predict.checked import check_scores
from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from birdcache.predict.postprocess import padded
from birdcache.predict.submission import SubmissionForm
from cache import tables
from cache.csv_files import CsvTable, write_csv
from cache.tables import Col
from train.data.examples import read_labels
from train.data.member import read_member
from train.data.taxa import class_names
from train.paths import ENSEMBLE, SCORES, SUBMISSION, THRESHOLDS
from train.score.blend import Blend, HeldOut, known_by
from train.score.calibration import Judged, chosen, cross_calibrated, fit_calibrator, judged_by
from train.score.ensemble import Ensemble, write_ensemble
from train.score.out_of_fold import held_windows, read_out_of_fold
from train.score.species import with_species
from train.score.thresholds import fit_thresholds


def main() -> None:
    """Write data/ensemble.json, reports/thresholds.csv and reports/submission.csv."""
    params = parameters.load()
    labels, names = read_labels(), list(params.members)
    held = read_out_of_fold(names, params.folds.train, params.members[names[0]].view, labels).held
    only = {name: member.only for name in names if (member := read_member(name)).only}
    blend = Blend.wanted(params.ensemble, names, known_by(names, only, labels))
    if len(only) == len(names) and (nobodys := sorted(set(labels).difference(*only.values()))):
        print(f"warning: no member is for {', '.join(nobodys)}: their scores are 0; add a member with labels: null")
    clips = read_clip_scores(SCORES)
    windows = held_windows(clips, labels, params.folds.train)
    fitted_on = chosen(params.ensemble.calibrate_on, windows)
    judged = judged_by(blend, held, windows)[fitted_on]
    ensemble, thresholds = fitted(params, labels, held.weights(blend), fitted_on, judged, clips)
    ensemble = ensemble.model_copy(update={"only": only})
    final_WK = ensemble.final(clips.member_windows(), clips.windows)
    check_scores(final_WK, ENSEMBLE, clips.row_ids.__getitem__)
    final_WK = with_species(params.predict, final_WK, clips)
    form = read_form()
    write_ensemble(ENSEMBLE, ensemble)
    write_csv(thresholds, THRESHOLDS, "%.4f")
    rows = form.rows(clips.row_ids, final_WK, labels, ensemble.called_above())
    count = write_rows(SUBMISSION, form.columns, rows)
    if missing := form.missing(labels):
        print(f"warning: {missing}")
    print_result(ensemble, held, thresholds, params.ensemble.threshold_for)
    print(f"{SUBMISSION}: {count} rows, {len(form.columns)} columns")


def fitted(
    params: Params, labels: list[str], weights_P: Floats64, fitted_on: FittedOn, judged: Judged, clips: ClipScores
) -> tuple[Ensemble, pd.DataFrame]:
    """The record of all that turns scores of members into final scores, and reports/thresholds.csv."""
    wanted, (scores_NK, held), loudest = params.ensemble, judged, params.predict.file_max
    calibrator = fit_calibrator(scores_NK, held.truth, held.known, wanted.calibration)
    calibrated_NK = cross_calibrated(scores_NK, held, wanted.calibration)
    thresholds = fit_thresholds(held.truth, calibrated_NK, held.known, wanted.threshold_prior, wanted.threshold_for)
    ensemble = Ensemble(
        labels=labels,
        members=dict(zip(params.members, weights_P.tolist(), strict=True)),
        folds=params.folds.train,
        kind="hand" if isinstance(wanted.blend, dict) else wanted.blend,
        best=wanted.best,
        window_s=clips.cutting.window_s,
        hop_s=clips.cutting.hop_s,
        shifts_s=list(clips.cutting.shifts_s),
        calibration=wanted.calibration,
        fitted_on=fitted_on,
        slopes=list(calibrator.slopes),
        offsets=list(calibrator.offsets),
        smoothing=of_each(params.predict.smoothing),
        file_max=loudest.power if isinstance(loudest, FileMaxParams) else loudest,
        top_k=loudest.top_k if isinstance(loudest, FileMaxParams) else 1,
        thresholds=thresholds["threshold"].tolist(),
    )
    thresholds.insert(0, Col.LABEL, labels)
    return ensemble, thresholds.assign(found_on=fitted_on)


def of_each(smoothing: float | list[float] | dict[str, float | list[float]]) -> float | list[float] | list[list[float]]:
    """Smoothing of all labels, or, where it is given for classes of the taxonomy, the taps of each label.

    A TrainError if one of these is no label's class.
    """
    if not isinstance(smoothing, dict):
        return smoothing
    names = class_names("predict.smoothing", smoothing.keys() - {OTHERS})
    return padded([smoothing.get(name, smoothing[OTHERS]) for name in names])


def read_form(table: CsvTable = tables.SUBMISSION_LABELS) -> SubmissionForm:
    """The form of the project's submission."""
    wanted = table.read()
    return SubmissionForm(list(wanted[Col.LABEL]), "".join(wanted[Col.COLUMN].unique()))


def print_result(ensemble: Ensemble, held: HeldOut, thresholds: pd.DataFrame, wish: ThresholdWish) -> None:
    """Print the weights of the blend, and what the thresholds give on what they were found on."""
    if remark := held.remark(ensemble.blend):
        print(remark)
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in ensemble.members.items())
    print(f"blend {ensemble.kind}: {weights}; calibration and thresholds are fitted on {ensemble.fitted_on}")
    means = thresholds[["f1", "precision", "recall"]].mean()
    told = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    print(f"{THRESHOLDS}, for {wish}: {told} (means of classes)")


if __name__ == "__main__":
    run_stage(main)
