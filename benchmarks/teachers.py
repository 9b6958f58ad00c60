"""What a small network gains from a teacher, and what each of the two costs. Run it after `dvc repro`, in any project.

A member that has a teacher is trained with and without it, by each seed, on all folds of folds.train. Figures are of
what each fold's model did not learn, as in `benchmarks.windows`: mean over the seeds, and standard deviation.

Where the teacher knows the folds' labels, it needs a view for each fold, whose network has not seen the fold:
`--views esc10_{}` names views.esc10_0 and so on.

Time is that of one CPU core for a clip, waveform to scores, of both as ONNX files in ONNX Runtime: of the teacher for
the windows that cover the clip, as its view runs it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.timing import parser_of
from benchmarks.windows import flat, measured, summary
from birdcache.errors import TrainError
from birdcache.params import load as parameters
from birdcache.params.embedding import EmbeddingView, StoredEmbedding
from birdcache.params.model import Params
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.teacher import TeacherParams
from cache.store import open_named
from train.augment.normalise import channel_count
from train.data.examples import read_labels
from train.data.member import ResolvedMember, read_member
from train.model.classifier import build_model
from train.model.weights import Sidecar
from train.paths import store_path
from train.score.markdown import markdown

ARMS = ("without", "with")


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
            member = with_teacher(taught, recipe, teachers[arm])
            found = measured({fold: for_fold(member, fold, arguments.views) for fold in params.folds.train}, params)
            accuracy = {"accuracy": found["recordings"]["accuracy"]}
            rows.append({"teacher": arm, "seed": seed, **accuracy, **flat(found)})
            print(rows[-1], flush=True)
    print(markdown(summary(pd.DataFrame(rows), "teacher")))
    student, whole = student_ms(taught), teacher_ms(teacher.view, taught, params)
    print(f"a clip takes {student:.2f} ms (student) and {whole:.2f} ms (teacher): {student / whole:.3f}")
    if arguments.json:
        times = {"student_ms": student, "teacher_ms": whole}
        Path(arguments.json).write_text(json.dumps({"runs": rows, **times}, indent=2) + "\n")


def with_teacher(member: ResolvedMember, recipe: Recipe, teacher: TeacherParams | None) -> ResolvedMember:
    """A member with another recipe and another teacher, or none."""
    digest = open_named(store_path(teacher.view)).digest if teacher else ""
    changed = member.member.model_copy(update={"teacher": teacher})
    return member.model_copy(update={"recipe": recipe, "member": changed, "teacher_digest": digest})


def for_fold(member: ResolvedMember, fold: int, views: str | None) -> ResolvedMember:
    """A member whose teacher, if it has one, has not heard a fold."""
    teacher = member.member.teacher
    if teacher is None or views is None:
        return member
    return with_teacher(member, member.recipe, teacher.model_copy(update={"view": views.format(fold)}))


def student_file(member: ResolvedMember, path: Path) -> Path:
    """Export the member's network, untrained, as a bundle has it."""
    from commands.export.graph import EnsembleGraph, WeightedModel  # which need ONNX, and training not
    from commands.export.onnx_file import export_graph
    from commands.predict.trained import Model

    view, recipe, labels = member.view, member.recipe, read_labels()
    channels = channel_count(view, recipe)
    network = build_model(member.member, len(labels), view.n_mels, pretrained=False, channels=channels)
    sidecar = Sidecar(labels=labels, fold=0, member=member, folds_sha256="", sha256={}, metrics={})
    whole = WeightedModel(Model(sidecar, network.eval()), np.ones(1, np.float32), shown=True)
    export_graph(EnsembleGraph([whole]), path)
    return path


def student_ms(member: ResolvedMember) -> float:
    """Time of the member's network for a clip."""
    import onnxruntime  # here, as above

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with TemporaryDirectory() as scratch:
        path = student_file(member, Path(scratch, "student.onnx"))
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    silence = {each.name: np.zeros((1, *each.shape[1:]), np.float32) for each in session.get_inputs()}
    return fastest_ms(lambda: session.run(None, silence))


def teacher_ms(name: str, member: ResolvedMember, params: Params) -> float:
    """Time of a view's network for as many windows as cover a clip, as stage `spectrograms` runs it."""
    from pipeline.builder.embedding import open_network  # here, as above
    from pipeline.builder.teacher import network_file, stored_view

    view = params.views[name]
    assert isinstance(view, EmbeddingView)
    stored = stored_view(name, view)
    assert isinstance(stored, StoredEmbedding)
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
