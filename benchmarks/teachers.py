"""What a small network gains from a teacher, and what each of the two costs. Run it after `dvc repro`, in any project.

A member that has a teacher is trained with and without it, by each seed, on all folds of folds.train. Figures are out
of fold: accuracy, macro ROC-AUC and cmAP, mean over the seeds and standard deviation.

Where the teacher knows the folds' labels, it needs a view for each fold, whose network has not seen the fold:
`--views esc10_{}` names views.esc10_0 and so on.

Time is that of one CPU core for a clip: of the network alone, images to scores, and of the teacher's for the windows
that cover a clip. The front end, which decodes and computes spectrograms, is in neither.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.timing import parser_of
from benchmarks.windows import summary, trained_folds
from birdcache.errors import TrainError
from birdcache.params import load as parameters
from birdcache.params.embedding import EmbeddingView, StoredEmbedding
from birdcache.params.model import Params
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.teacher import TeacherParams
from cache.store import open_named
from pipeline.builder.teacher import network_file, stored_view
from train.augment.normalise import channel_count
from train.data.member import ResolvedMember, read_member
from train.model.classifier import build_model
from train.paths import store_path
from train.score.markdown import markdown
from train.score.metrics import recording_metrics

ARMS = ("without", "with")
METRICS = {"accuracy": "accuracy", "macro_roc_auc": "AUC", "cmap": "cmAP"}


def main() -> None:
    """Train, print tables, write all runs as JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--member", default="base", help="a member with a teacher")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--views", help="the teacher's view for each fold, with {} for the fold")
    parser.add_argument("--teacher", type=json.loads, default={}, help="keys of the teacher to change, as JSON")
    parser.add_argument("--override", type=json.loads, default={}, help="keys of the recipe to change, as JSON")
    arguments = parser.parse_args()
    params, rows, taught = parameters.load(), [], read_member(arguments.member)
    if taught.member.teacher is None:
        raise TrainError(f"members.{arguments.member} has no teacher to compare with; give it one")
    teacher = TeacherParams(**taught.member.teacher.model_dump() | arguments.teacher)
    teachers = {"without": None, "with": teacher}
    for seed in arguments.seeds:
        recipe = resolve_recipe(taught.recipe, {**arguments.override, "seed": seed})
        for arm in arguments.arms:
            found = measured(with_teacher(taught, recipe, teachers[arm]), params, arguments.views)
            rows.append({"teacher": arm, "seed": seed, **{name: found[key] for key, name in METRICS.items()}})
            print(rows[-1], flush=True)
    print(markdown(summary(pd.DataFrame(rows), "teacher")))
    student_ms, teacher_ms = student_time_ms(taught), teacher_time_ms(teacher.view, taught, params)
    print(f"a clip takes {student_ms:.2f} ms (student) and {teacher_ms:.2f} ms (teacher)")
    if arguments.json:
        times = {"student_ms": student_ms, "teacher_ms": teacher_ms}
        Path(arguments.json).write_text(json.dumps({"runs": rows, **times}, indent=2) + "\n")


def with_teacher(member: ResolvedMember, recipe: Recipe, teacher: TeacherParams | None) -> ResolvedMember:
    """A member with another recipe and another teacher, or none."""
    digest = open_named(store_path(teacher.view)).digest if teacher else ""
    changed = member.member.model_copy(update={"teacher": teacher})
    return member.model_copy(update={"recipe": recipe, "member": changed, "teacher_digest": digest})


def measured(member: ResolvedMember, params: Params, views: str | None) -> dict[str, float]:
    """Train a member on all folds of folds.train; metrics of the recordings that each did not learn."""
    found = []
    for fold in params.folds.train:
        only = params.model_copy(update={"folds": params.folds.model_copy(update={"train": [fold]})})
        teacher = member.member.teacher
        if teacher and views:
            teacher = teacher.model_copy(update={"view": views.format(fold)})
        for _, (validated, validation, kept) in trained_folds(with_teacher(member, member.recipe, teacher), only):
            found.append((validated.primary, validated.unjudged, validation.predict(kept)[0]))
            accuracy = np.mean(found[-1][2].argmax(axis=1) == validated.primary)
            print(f"fold {fold}: accuracy {accuracy:.3f}", flush=True)
    return recording_metrics(*(np.concatenate(column) for column in zip(*found, strict=True)))


def student_time_ms(member: ResolvedMember) -> float:
    """Time of the member's network for a clip."""
    torch.set_num_threads(1)
    view, recipe = member.view, member.recipe
    channels, frames = channel_count(view, recipe), view.frames(recipe.clip_s)
    model = build_model(member.member, 100, view.n_mels, False, channels).eval()
    images = torch.zeros(1, channels, view.n_mels, frames)
    with torch.no_grad():
        return fastest_ms(lambda: model(images))


def teacher_time_ms(name: str, member: ResolvedMember, params: Params) -> float:
    """Time of a view's network for as many windows as cover a clip."""
    view = params.views[name]
    stored = stored_view(name, view)
    assert isinstance(view, EmbeddingView)
    assert isinstance(stored, StoredEmbedding)
    from pipeline.builder.embedding import open_network  # which needs ONNX Runtime, and training not

    network = open_network(network_file(view), stored.file_sha256, stored, "cpu")
    rows = np.zeros((max(1, round(member.recipe.clip_s / stored.hop_s)), stored.samples), np.float32)
    return fastest_ms(lambda: network.run(rows))


def fastest_ms(work: Callable[[], object], times: int = 20) -> float:
    """The shortest time of several."""
    found = []
    for _ in range(times):
        begin_s = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin_s)
    return 1000 * min(found)


if __name__ == "__main__":
    main()
