"""`dvc repro` runs what is downstream of a change, and nothing else: each row of docs/reruns.md.

The project is a copy with tiny data. `dvc status` names the stages whose own inputs changed; what they feed runs after
them if their outputs change, which `test_repro_runs_only_the_changed_member` shows with a real run.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.repo import Repo
from dvc.repo.artifacts import check_name_format
from ruamel.yaml import YAML

from birdcache.code import PACKAGES
from tests.fixtures import tiny

pytestmark = pytest.mark.slow


def dvc(root: Path, *arguments: str, **variables: str) -> str:
    """Run a DVC command in the project, with `python` being this Python, and variables of the environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    environment.pop("BIRDCACHE_POOL", None)
    environment |= variables
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_of_the_code(root: Path) -> None:
    """The project's code, dvc.yaml and DVC settings, without data."""
    skip = shutil.ignore_patterns("__pycache__")
    for name in (*PACKAGES, "optional", "species", "teachers"):
        shutil.copytree(tiny.ROOT / name, root / name, ignore=skip, dirs_exist_ok=True)
    shutil.copy(tiny.ROOT / "dvc.yaml", root)
    shutil.copy(tiny.ROOT / ".dvcignore", root)
    (root / ".dvc").mkdir()
    shutil.copy(tiny.ROOT / ".dvc/config", root / ".dvc")
    shutil.copytree(tiny.ROOT / ".dvc/plots", root / ".dvc/plots")


def start_git(root: Path) -> None:
    """A repository with a first commit."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run([*git, *arguments], cwd=root, check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that `dvc repro` has just finished; one member on each view, two folds."""
    root = tmp_path_factory.mktemp("project")
    copy_of_the_code(root)
    start_git(root)
    tiny.write_data(root / "chorus")
    raw = tiny.tiny_params("chorus")
    raw["train"]["demo"] |= {"epochs": 2}
    raw["train"]["other"] = copy.deepcopy(raw["train"]["demo"])
    raw["members"]["pcen"]["recipe"] = "other"
    raw["folds"]["train"] = [0]
    tiny.write_params(root / "params.yaml", raw)
    dvc(root, "repro")
    return root


@pytest.fixture
def changed_params(project: Path) -> Any:
    """A function that changes one key of params.yaml; undone after the test."""
    path = project / "params.yaml"
    before = path.read_text()

    def change(key: str, value: Any) -> None:
        raw = YAML(typ="safe", pure=True).load(before)
        node = raw
        *steps, last = key.split(".")
        for step in steps:
            node = node[step]
        node[last] = value
        tiny.write_params(path, raw)

    yield change
    path.write_text(before)


def changed_stages(root: Path) -> set[str]:
    """Stages of the root's pipeline that `dvc status` finds changed in themselves."""
    changed = re.findall(r"^(\S+):$", dvc(root, "status"), flags=re.MULTILINE)
    return {stage for stage in changed if not stage.startswith("optional/")}


def test_a_second_repro_does_nothing_and_says_so(project: Path) -> None:
    assert "Data and pipelines are up to date." in dvc(project, "repro")


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("machine.workers", 2, set()),
        ("machine.device", "auto", set()),
        ("machine.pool", "elsewhere", set()),
        ("data.shortest_s", 0.6, {"check", "recordings"}),
        ("data.no_end", "accept", {"check", "recordings"}),
        ("data.max_refused_share", 0.2, {"check", "recordings", "spectrograms@mel", "spectrograms@pcen"}),
        ("views.pcen.pcen.gain", 0.9, {"check", "spectrograms@pcen", "member@pcen"}),
        ("views.mel.hop", 200, {"check", "spectrograms@mel", "member@base"}),
        ("folds.seed", 2, {"folds"}),
        ("train.other.epochs", 3, {"check", "member@base", "member@pcen"}),
        ("members.base.dropout", 0.2, {"check", "member@base", "predict", "submit", "evaluate"}),
        ("evaluate.top_confusions", 3, {"evaluate"}),
        ("evaluate.rare_below", 3, {"evaluate", "report"}),
        ("report.clips", 1, {"report"}),
        ("predict.window_s", 4.0, {"predict"}),
        ("predict.shifts_s", [1.0], {"predict"}),
        ("predict.smoothing", 0.2, {"submit"}),
        ("predict.file_max", 0.5, {"submit"}),
        ("ensemble.blend", "rank", {"submit"}),
    ],
)
def test_a_changed_key_touches_only_the_stages_that_read_it(
    project: Path, changed_params: Callable[[str, Any], None], key: str, value: Any, stages: set[str]
) -> None:
    changed_params(key, value)
    assert changed_stages(project) == stages


def ran(root: Path, *targets: str) -> set[str]:
    """Stages that `dvc repro` runs."""
    return set(re.findall(r"Running stage '(\S+)'", dvc(root, "repro", *targets)))


def append(root: Path, file: str, line: str) -> None:
    (root / file).write_text(f"{(root / file).read_text()}{line}\n")


def test_a_comment_anywhere_runs_stage_code_alone(project: Path) -> None:
    for file in (
        "birdcache/files.py",
        "cache/store.py",
        "pipeline/folds.py",
        "train/fit.py",
        "commands/report/build.py",
    ):
        append(project, file, "# a comment")
    assert changed_stages(project) == {"code"}
    assert ran(project) == {"code"}
    assert changed_stages(project) == set()


def test_a_real_edit_runs_the_stages_that_import_the_file_and_stops_where_nothing_changes(project: Path) -> None:
    append(project, "pipeline/dataset/groups.py", "CHANGED = True")
    assert ran(project) == {"code", "folds"}, "folds are what they were: no training runs"
    append(project, "pipeline/builder/plan.py", "CHANGED = True")
    pool = {path: path.stat().st_mtime_ns for path in (project / ".birdcache/pool").rglob("*") if path.is_file()}
    assert ran(project) == {"code", "spectrograms@mel", "spectrograms@pcen"}, "the stores are what they were"
    shards = {path: time for path, time in pool.items() if "c" in path.parts}
    assert shards == {path: path.stat().st_mtime_ns for path in shards}, "nothing is decoded again"


def test_a_project_of_earlier_code_links_its_stores_from_the_pool_again(project: Path) -> None:
    """Its dvc.lock knows neither stage code nor the folders of tables and reports."""
    lock, stores = project / "dvc.lock", sorted((project / "data/cache").rglob("parts/*/c/**/*"))
    shards = {path: path.stat().st_ino for path in stores if path.is_file()}
    before = YAML(typ="safe", pure=True).load(lock.read_text())
    del before["stages"]["code"]
    for stage in before["stages"].values():
        stage["deps"] = [
            dep for dep in stage.get("deps", []) if not dep["path"].startswith(("data/code", "data/tables"))
        ]
        stage["outs"] = [out for out in stage["outs"] if not out["path"].startswith(("data/tables", "reports/"))]
    with lock.open("w") as file:
        YAML(typ="safe", pure=True).dump(before, file)
    for folder in ("data/code", "data/tables", "data/cache"):
        shutil.rmtree(project / folder)
    dvc(project, "repro", "spectrograms@mel", "spectrograms@pcen", "folds")
    assert shards == {path: path.stat().st_ino for path in shards}, "hard links to the very files of the pool"
    dvc(project, "repro")


def test_repro_runs_only_the_changed_member(project: Path, changed_params: Callable[[str, Any], None]) -> None:
    changed_params("train.other.optimiser.lr", 0.02)
    ran = set(re.findall(r"Running stage '(\S+)'", dvc(project, "repro")))
    assert ran == {"check", "member@base", "member@pcen", "train@pcen-0", "predict", "submit", "evaluate", "report"}
    weights = {path: path.read_bytes() for path in project.glob("models/pcen/0/*.safetensors")}
    changed_params("train.other.optimiser.lr", 0.01)
    output = dvc(project, "repro")
    ran = set(re.findall(r"Running stage '(\S+)'", output))
    assert ran == {"member@base", "member@pcen", "train@pcen-0"}, "DVC's run cache gives the others for free"
    assert "pcen-0: was trained before" in output
    assert all(path.read_bytes() != content for path, content in weights.items())


def test_a_member_that_cannot_be_built_stops_the_run_before_anything_else(
    project: Path, changed_params: Callable[[str, Any], None]
) -> None:
    changed_params("members.base.backbone", "efficientnet_b00")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=project, capture_output=True, text=True, check=False
    )
    assert re.findall(r"Running stage '(\S+)'", done.stdout) == ["check"]
    assert "members.base: backbone = 'efficientnet_b00': timm has no such model; similar names:" in done.stderr


def test_changed_labels_decode_nothing(project: Path) -> None:
    table = project / "chorus/train.csv"
    before = table.read_text()
    try:
        table.write_text(before.replace(",4,midton/XC0", ",1,midton/XC0"))
        ran = set(re.findall(r"Running stage '(\S+)'", dvc(project, "repro", "spectrograms@mel", "folds")))
        assert ran == {"recordings", "folds"}
    finally:
        table.write_text(before)
        dvc(project, "repro", "folds")


def test_annotations_change_what_is_learned_and_decode_nothing(project: Path) -> None:
    corrected = project / "annotations/corrected.csv"
    try:
        corrected.write_text("file,start_s,end_s,label,score\nmidton/XC0.ogg,0,1,higton,0.9\n")
        ran = set(re.findall(r"Running stage '(\S+)'", dvc(project, "repro", "spectrograms@mel", "train@base-0")))
        assert ran == {"recordings", "folds", "member@base", "train@base-0"}, "the member may be for some labels"
        assert "midton/XC0.ogg,0.0,1.0,higton" in (project / "data/tables/annotations.csv").read_text()
    finally:
        corrected.unlink()
        dvc(project, "repro", "train@base-0")


def test_plots_show_all_trainings_at_once_with_titles_and_axes(project: Path) -> None:
    plots = json.loads(dvc(project, "plots", "show", "--json", "--split"))["data"]
    assert list(plots)[:4] == [
        "macro ROC-AUC on the fold",
        "validation loss",
        "waiting for data",
        "reports/evaluate/per_class.csv",
    ]
    told = plots["macro ROC-AUC on the fold"][0]["anchor_definitions"]
    assert told["<DVC_METRIC_TITLE>"] == "macro ROC-AUC on the fold, by epoch"
    assert (told["<DVC_METRIC_X_LABEL>"], told["<DVC_METRIC_Y_LABEL>"]) == ("epoch", "macro ROC-AUC")
    rows = [{key: str(row[key]) for key in ("member", "fold", "epoch")} for row in told["<DVC_METRIC_DATA>"]]
    assert [(row["member"], row["fold"], row["epoch"]) for row in rows] == [
        (member, "0", epoch) for member in ("base", "pcen") for epoch in ("1", "2")
    ]
    calibration = plots["calibration"][0]["anchor_definitions"]
    assert calibration["<DVC_METRIC_X_LABEL>"] == "score of the best class"


def test_metrics_are_told_without_a_complaint(project: Path) -> None:
    shown = json.loads(dvc(project, "metrics", "show", "--json"))[""]["data"]
    assert all("error" not in each for each in shown.values())
    assert "ensemble" in shown["reports/metrics.json"]["data"]["out_of_fold"]


def test_artifacts_name_the_models_by_dvcs_rules(project: Path) -> None:
    with Repo(str(project)) as repo:
        found = repo.artifacts.read()["dvc.yaml"]
        for name, artifact in found.items():
            check_name_format(name)
            assert (project / repo.artifacts.get_path(name)).exists()
            assert artifact.desc
    assert {name: each.path for name, each in found.items()} == {"models": "models", "ensemble": "data/ensemble.json"}


def verify(root: Path) -> tuple[int, str]:
    """Status and words of `birdcache verify`."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "birdcache.cli", "verify"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_repro_builds_only_the_part_that_a_disk_has_damaged(project: Path) -> None:
    shard = max(project.glob("data/cache/mel.zarr/parts/*/c/0/0"), key=lambda path: path.stat().st_size)
    facts, whole = shard.stat(), shard.read_bytes()
    shard.chmod(0o644)
    with shard.open("r+b") as file:  # the pool's file too, and nothing that DVC looks at
        file.seek(100)
        file.write(bytes([whole[100] ^ 1]))
    os.utime(shard, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert "Data and pipelines are up to date." in dvc(project, "repro")
    status, told = verify(project)
    assert status == 1
    assert f"{shard.relative_to(project)}: chunk 0 is damaged\n    chorus/train_audio/" in told
    assert "-> run `dvc repro`, which builds again what is bad and nothing else" in told
    output = dvc(project, "repro")
    assert "spectrograms@mel: 1 part to write" in output
    assert set(re.findall(r"Running stage '(\S+)'", output)) == {"spectrograms@mel"}
    assert shard.read_bytes() == whole
    assert verify(project)[0] == 0


def test_a_store_that_is_gone_or_another_is_noticed_and_restored_and_nothing_after_it_runs(project: Path) -> None:
    store = project / "data/cache/mel.zarr"
    shutil.rmtree(store)
    assert changed_stages(project) == {"spectrograms@mel"}
    assert ran(project) == {"spectrograms@mel"}
    manifest = (store / "manifest.json").read_bytes()
    shutil.rmtree(store)
    shutil.copytree(project / "data/cache/pcen.zarr", store)
    assert changed_stages(project) == {"spectrograms@mel"}
    assert ran(project) == {"spectrograms@mel"}
    assert (store / "manifest.json").read_bytes() == manifest
    (project / "data/stores/mel.sha256").unlink()
    assert ran(project) == {"spectrograms@mel"}
    assert changed_stages(project) == set()


def test_an_added_recording_decodes_only_itself(project: Path) -> None:
    added = project / "chorus/train_audio/lowton/XC99.ogg"
    table = project / "chorus/train.csv"
    before = table.read_text()
    tiny.write_audio(added, tiny.song(700, 2, np.random.default_rng(9)))
    try:
        table.write_text(before + 'lowton,"[]",new author,4,lowton/XC99.ogg\n')
        output = dvc(project, "repro", "spectrograms@mel")
        assert "spectrograms@mel: 1 part to write, 0.00 h of audio to decode" in output
    finally:
        added.unlink()
        table.write_text(before)
        dvc(project, "repro", "spectrograms@mel")
