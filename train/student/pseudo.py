"""Stage `pseudo@<round>`: the teacher's scores of soundscapes, as labels for the round's students.

G group of teachers, N clip, R recording, K class.
"""

from collections.abc import Sequence

import numpy as np

from birdcache.errors import TrainError, run_stage
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.student import StudentRound
from birdcache.predict.postprocess import Cutting
from birdcache.stage import stage_key
from cache import tables
from cache.tables import Col
from train.data.labels import sharpened
from train.paths import STUDENT
from train.score.soundscapes import ScoringTask, SoundscapeAudio
from train.score.truth import labelled_soundscapes
from train.student.pseudo_labels import PseudoLabels, round_of
from train.student.rounds import Evaluator, RoundModels, models_of, open_evaluator, reason_to_stop, teacher_report


def main() -> None:
    """Write data/student/<round>/labels.npz, and teacher.json with the metrics of the round's teacher."""
    name = stage_key("first")
    params = parameters.load()
    student = params.student
    each = round_of(name, student.rounds)
    models = models_of(each.teacher, params)
    evaluator = open_evaluator(params, models)
    report = teacher_report(each, evaluator.metrics(models), student.gain_in)
    stopped = reason_to_stop(report, student.least_gain, student.gain_in)
    labels = passed_on(stopped, evaluator, models) if stopped else labelled(name, each, params, evaluator, models)
    labels.write(STUDENT / name)
    report.write(STUDENT / name)
    print(stopped or f"{name}: {len(labels)} clips by {each.teacher}, mean confidence {labels.mean_confidence:.3f}")


def passed_on(stopped: str, evaluator: Evaluator, models: RoundModels) -> PseudoLabels:
    """No labels, and the models that are passed on."""
    labels, none = tuple(evaluator.labels), np.empty((0, 0, len(evaluator.labels)), np.float32)
    return PseudoLabels(labels, (), (), np.empty(0), none, none[:, :, 0], {}, (), none, models.digests, stopped)


def labelled(name: str, each: StudentRound, params: Params, evaluator: Evaluator, models: RoundModels) -> PseudoLabels:
    """The clips that get a label from the teacher.

    A TrainError if there is no soundscape to label, or all scores are below the round's threshold.
    """
    soundscapes = to_label(evaluator.soundscapes, params.student.soundscapes)
    longest_s = max(sidecar.member.recipe.clip_s for sidecar in models.sidecars)
    cutting = Cutting(longest_s, params.student.hop_s)
    task = ScoringTask(soundscapes, evaluator.labels, cutting, evaluator.batch_size)
    by_model, taught = models.each_score(task, evaluator.opened, f"pseudo@{name}"), models.teachers_of(each)
    heard = models.out_of_fold(evaluator.labels)
    groups = list(dict.fromkeys(taught.values()))
    scores_GNK = np.stack([np.mean([by_model[folder] for folder in group.folders], axis=0) for group in groups])
    heard_GRK = np.stack([np.mean([heard.scores[member] for member in group.members], axis=0) for group in groups])
    labels_GNK, softened_GRK = (sharpened(scores, each.threshold, each.power) for scores in (scores_GNK, heard_GRK))
    weight_GN = labels_GNK.max(axis=2)
    if not weight_GN.any(axis=1).all():
        raise TrainError(
            f"params.yaml: student.rounds.{name}.threshold = {each.threshold:g}: the highest score of any clip is "
            f"{scores_GNK.max(axis=(1, 2)).min():.3g}, so no clip gets a label; lower the threshold"
        )
    middles = [cutting.middles_s(soundscape.duration_s) for soundscape in soundscapes]
    owner = np.repeat(np.arange(len(soundscapes)), [len(middle_s) for middle_s in middles])
    kept = np.flatnonzero(weight_GN.any(axis=0))
    owners = [soundscapes[number] for number in owner[kept]]
    names, audio = tuple(one.name for one in owners), tuple(one.sha256 for one in owners)
    middle_s = np.concatenate(middles)[kept]
    students = {student: groups.index(group) for student, group in taught.items()}
    clips = tuple(evaluator.labels), names, audio, middle_s, labels_GNK[:, kept], weight_GN[:, kept]
    return PseudoLabels(*clips, students, heard.examples.names, softened_GRK, models.digests)


def to_label(soundscapes: Sequence[SoundscapeAudio], which: str) -> list[SoundscapeAudio]:
    """The soundscapes that get labels: all, or those without truth; a TrainError if all of them have a truth."""
    listed = labelled_soundscapes() | set(tables.WINDOWS.read(Col.SOUNDSCAPE)[Col.SOUNDSCAPE])
    labelled = listed if which == "unlabelled" else set[str]()
    left = [soundscape for soundscape in soundscapes if soundscape.name not in labelled]
    if not left:
        raise TrainError(
            "params.yaml: student.soundscapes = 'unlabelled': every soundscape has labelled windows; add "
            "soundscapes without truth, or set student.soundscapes: all, which makes scores on that truth too good"
        )
    return left


if __name__ == "__main__":
    run_stage(main)
