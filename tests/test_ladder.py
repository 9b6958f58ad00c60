"""A tiny ladder from end to end: its stages in this process, and its place beside the project's pipeline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro

from birdcache import cli
from birdcache.errors import TrainError
from birdcache.params import load as params
from cache.store import Store
from commands.plan.stages import plan_stages
from tests.conftest import TinyProject
from tests.fixtures import tiny
from tests.fixtures.stages import run_stage
from tests.test_house import stage_definition
from train.data.sampling import covering_starts
from train.ladder import members as ladder_members
from train.ladder import run as ladder_run
from train.ladder import summary
from train.ladder.members import read_run, resolve_run
from train.ladder.scores import measured, read_fold
from train.model.weights import read_model, read_sidecar
from train.paths import split_run
from train.score.parameters import changes

SEEDS, FOLD = (4, 5, 6), 1
STAGES: dict[str, tuple[Any, ...]] = {
    "ladder_members": (ladder_members,),
    **{f"ladder_rung@{run}-{seed}": (ladder_run, f"{run}-{seed}") for run in ("base", "more") for seed in SEEDS},
    **{f"ladder_ablation@even-{seed}": (ladder_run, f"even-{seed}") for seed in SEEDS},
    "ladder": (summary,),
}


@dataclass(frozen=True)
class Climbed:
    """A finished ladder, and which keys of params.yaml each stage read."""

    root: Path
    reads: dict[str, set[str]]

    def scores(self, run: str, seed: int) -> Path:
        return self.root / "data/ladder/runs" / f"{run}-{seed}" / f"{FOLD}.npz"


def ladder_params() -> dict[str, Any]:
    """The tiny project with two rungs, an ensemble of both, and one ablation; an epoch each."""
    raw = tiny.tiny_params("chorus")
    raw["train"]["demo"] |= {"epochs": 1}
    raw["train"]["demo"]["optimiser"]["warmup_epochs"] = 0
    rung = {**raw["members"]["base"], "override": {"sampling": {"weighted": False}}}
    weighted = {"sampling": {"weighted": True}}
    raw["ladder"] = {
        "seeds": list(SEEDS),
        "folds": [FOLD],
        "rungs": {"base": rung, "more": {**rung, "override": weighted}},
        "ensemble": {"both": ["base", "more"]},
        "ablations": {"even": {"rung": "more", "without": {"override": {"sampling": {"weighted": False}}}}},
    }
    return raw


@pytest.fixture(scope="module")
def climbed(tiny_project: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Climbed:
    """All stages of the ladder, on the data of the tiny project."""
    root = tmp_path_factory.mktemp("ladder") / "project"
    shutil.copytree(tiny_project.root, root)
    tiny.write_params(root / "params.yaml", ladder_params())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        reads = {stage: run_stage(module.__name__, *argument) for stage, (module, *argument) in STAGES.items()}
    return Climbed(root, reads)


@pytest.mark.slow
def test_tables_and_picture_are_written(climbed: Climbed) -> None:
    reports = climbed.root / "reports"
    table = pd.read_csv(reports / "ladder.csv")
    assert table["run"].unique().tolist() == ["base", "more", "both", "even"]
    assert table["seed"].tolist() == [*SEEDS] * 4
    assert set(json.loads((reports / "ladder.json").read_text())) == {"base", "more", "both", "even"}
    text = (reports / "ladder.md").read_text()
    assert "| even | more |" in text
    assert "- **more**, against base: `sampling.weighted`: false -> true" in text
    assert "- **even**, against more: `sampling.weighted`: true -> false" in text
    assert (reports / "ladder.png").stat().st_size > 10_000


@pytest.mark.slow
def test_each_training_leaves_its_resolved_parameters_weights_and_curves(climbed: Climbed) -> None:
    for run, weighted in (("base", False), ("more", True), ("even", False)):
        for seed in SEEDS:
            folder = climbed.root / "data/ladder/models" / run / str(seed) / str(FOLD)
            sidecar = read_sidecar(folder)
            assert (sidecar.fold, sidecar.member.name) == (FOLD, run)
            assert (sidecar.member.recipe.seed, sidecar.member.recipe.sampling.weighted) == (seed, weighted)
            assert (folder / "last.safetensors").is_file()
            assert (climbed.root / "reports/ladder" / f"{run}-{seed}" / str(FOLD) / "metrics.json").is_file()


@pytest.mark.slow
def test_an_ablation_that_makes_a_rung_another_rung_trains_as_that_one(climbed: Climbed) -> None:
    """`even` is `more` without what it has more than `base`: the same trainings, to the last bit; other seeds not."""
    for seed in SEEDS:
        plain, even = (read_fold(climbed.scores(run, seed)).validated.scores for run in ("base", "even"))
        np.testing.assert_array_equal(plain, even)
    first, second = (read_fold(climbed.scores("base", seed)).validated.scores for seed in SEEDS[:2])
    assert not np.array_equal(first, second)


def slow_scores(root: Path, names: list[str]) -> npt.NDArray[np.float64]:
    """Scores of recordings by `more` with the first seed: clip after clip, nothing done to it but normalising."""
    folder = root / "data/ladder/models/more" / str(SEEDS[0]) / str(FOLD)
    sidecar = read_sidecar(folder)
    model = read_model(folder, sidecar, "last", torch.device("cpu"))
    store = Store(root / "data/cache/mel.zarr")
    table = pd.read_csv(root / "data/tables/recordings.csv").set_index("recording")
    clip_frames = store.view.frames(sidecar.member.recipe.clip_s)
    rows = []
    for name in names:
        (row,) = store.rows_of([str(table.loc[name, "sha256"])])
        frames_TM = store.read(int(row)).astype(np.float64)
        assert len(frames_TM) > clip_frames, "or a clip would be repeated"
        each = []
        for start in covering_starts(len(frames_TM), clip_frames):
            clip_TM = frames_TM[start : start + clip_frames]
            clip_TM = np.maximum(clip_TM, clip_TM.max() - sidecar.member.recipe.dynamic_range_db)
            image_MT = ((clip_TM - clip_TM.mean()) / clip_TM.std()).T
            with torch.no_grad():
                logits_1K = model(torch.tensor(image_MT, dtype=torch.float32)[None, None]).clip
            each.append(torch.softmax(logits_1K[0], 0).numpy())
        rows.append(np.mean(each, axis=0))
    return np.array(rows)


@pytest.mark.slow
def test_the_gap_is_that_of_the_final_weights_on_plain_recordings(climbed: Climbed) -> None:
    scores = read_fold(climbed.scores("more", SEEDS[0]))
    folds = pd.read_csv(climbed.root / "data/folds.csv").set_index("recording")["fold"]
    sides = {"trained": folds[folds != FOLD], "validated": folds[folds == FOLD]}
    labels = pd.read_csv(climbed.root / "data/tables/labels.csv")["label"].tolist()
    primary = pd.read_csv(climbed.root / "data/tables/recordings.csv").set_index("recording")["label"]
    accuracy = {}
    for side, rows in sides.items():
        scored = getattr(scores, side)
        assert sorted(scored.names) == sorted(rows.index)
        slow_NK = slow_scores(climbed.root, scored.names.tolist())
        np.testing.assert_allclose(scored.scores, slow_NK, atol=2e-4)
        guessed = [labels[number] for number in slow_NK.argmax(axis=1)]
        accuracy[side] = np.mean([primary[name] == guess for name, guess in zip(scored.names, guessed, strict=True)])
    values = measured([scores], np.zeros(len(labels), bool))
    assert values["gap"] == pytest.approx(accuracy["trained"] - accuracy["validated"])


@pytest.mark.slow
def test_epochs_are_those_of_the_log(climbed: Climbed) -> None:
    scores = read_fold(climbed.scores("base", SEEDS[0]))
    assert len(scores.epoch_s) == 1
    assert scores.epoch_s[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_declares_the_params_that_it_reads(stage: str, climbed: Climbed) -> None:
    declared = stage_definition(stage)["params"]
    read = {key for key in climbed.reads[stage] if not key.startswith("machine.")}
    assert all(any(f"{key}.".startswith(f"{entry}.") for entry in declared) for key in read), read
    assert all(any(f"{key}.".startswith(f"{entry}.") for key in read) for entry in declared), read


@pytest.mark.slow
def test_changes_tell_key_by_key_what_is_trained_otherwise(climbed: Climbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(climbed.root)
    base, more = read_run("base", 1), read_run("more", 2)
    assert changes(base, more) == ["`sampling.weighted`: false -> true"]
    assert changes(base, base) == []
    other = base.model_copy(update={"member": base.member.model_copy(update={"head": "sed", "dropout": 0.5})})
    assert changes(base, other) == ['`head`: "linear" -> "sed"', "`dropout`: 0.1 -> 0.5"]


@pytest.mark.slow
def test_a_changed_rung_changes_its_own_file_and_that_of_its_ablations_only(
    climbed: Climbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(climbed.root)
    raw = ladder_params()
    raw["ladder"]["rungs"]["more"]["dropout"] = 0.4
    tiny.write_params(Path("params.yaml"), raw)
    loaded = params.load()
    same = {
        run: resolve_run(run, loaded) == read_run(run, resolve_run(run, loaded).recipe.seed)
        for run in loaded.ladder.trained
    }
    assert same == {"base": True, "more": False, "even": False}


def test_a_run_that_is_missing_or_misspelt_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainError, match=r"data/ladder/members/base\.json: is missing; run `birdcache ladder`"):
        read_run("base", 1)
    for key in ("base", "base-x", "-1"):
        with pytest.raises(TrainError, match="must be a name, a hyphen and a number, such as strong-2"):
            split_run(key, "strong-2")
    Path("data/ladder/members").mkdir(parents=True)
    Path("data/ladder/members/base.json").write_text("{}")
    with pytest.raises(TrainError, match=r"base\.json: Field required; remove it"):
        read_run("base", 1)


QUIET = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of DVC's own graph


@pytest.fixture
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project with the root's pipeline and the ladder's, in which nothing has run."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for name in ("dvc.yaml", "optional/dvc.yaml", ".dvc/config", ".dvcignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tiny.ROOT / name, tmp_path / name)
    tiny.write_params(tmp_path / "params.yaml", ladder_params())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def needed(repo: Repo, target: str) -> set[str]:
    """Names of the stages that `dvc repro TARGET` looks at."""
    stages = [stage for stage in repo.index.stages if target in (stage.path_in_repo, stage.addressing)]
    return {stage.name for stage in plan_repro(get_active_graph(repo.index.graph), stages)}


@QUIET
def test_the_ladder_brings_what_it_needs_and_the_project_never_brings_the_ladder(pipelines: Path) -> None:
    with Repo(pipelines) as repo:
        root, ladder = needed(repo, "dvc.yaml"), needed(repo, "optional/dvc.yaml:ladder")
    assert {"evaluate", "train@base-0", "spectrograms@mel"} <= root
    assert not [name for name in root if "ladder" in name]
    assert set(STAGES) <= ladder
    assert {"recordings", "folds", "spectrograms@mel"} <= ladder
    assert not [name for name in ladder if name.startswith(("train@", "member@", "predict", "evaluate"))]


def test_the_plan_of_the_project_has_no_ladder(pipelines: Path) -> None:
    assert pipelines == Path.cwd()
    planned = {plan.stage for plan in plan_stages()}
    assert "evaluate" in planned
    assert not [name for name in planned if "ladder" in name]


@QUIET
def test_a_ladder_without_ablations_and_ensembles_is_a_pipeline_too(pipelines: Path) -> None:
    raw = ladder_params()
    raw["ladder"] |= {"ensemble": {}, "ablations": {}}
    tiny.write_params(pipelines / "params.yaml", raw)
    with Repo(pipelines) as repo:
        assert {name for name in needed(repo, "optional/dvc.yaml:ladder") if "ladder_ablation" in name} == set()


def test_the_command_refuses_a_ladder_without_rungs(pipelines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = ladder_params()
    raw["ladder"] |= {"rungs": {}, "ensemble": {}, "ablations": {}}
    tiny.write_params(pipelines / "params.yaml", raw)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["ladder"])
    assert "ladder.rungs is empty" in capsys.readouterr().err
    with pytest.raises(TrainError, match=r"ladder\.rungs is empty"):
        summary.main()


def test_the_command_runs_the_pipeline_of_the_ladder_and_tells_how_to_go_on(
    pipelines: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def failed(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        seen.append((command, check))
        return subprocess.CompletedProcess(command, returncode=len(seen) == 1)

    monkeypatch.setattr(subprocess, "run", failed)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["ladder"])
    told = capsys.readouterr()
    assert "9 trainings: 3 rungs and ablations, 3 seeds" in told.out
    assert "run the same command to continue" in told.err
    assert seen == [([sys.executable, "-m", "dvc", "repro", "optional/dvc.yaml:ladder"], False)]
    (pipelines / "reports").mkdir()
    (pipelines / "reports/ladder.md").touch()
    cli.main(["ladder"])
    assert "reports/ladder.md" in capsys.readouterr().out
    (pipelines / "optional/dvc.yaml").unlink()
    with pytest.raises(SystemExit, match="1"):
        cli.main(["ladder"])
    assert "optional/dvc.yaml: no such file" in capsys.readouterr().err
