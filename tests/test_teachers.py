"""A network in an ONNX file as teacher and under a probe, through all stages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from safetensors.torch import load_file

from birdcache import cli
from birdcache.files import file_sha256
from birdcache.params.views import stored_views
from tests.conftest import TinyProject
from tests.fixtures import tiny
from tests.fixtures.stages import run_stage
from tests.fixtures.teacher import write_teacher
from train.data.member import read_member
from train.model.weights import read_sidecar
from train.student.pseudo_labels import read_pseudo_labels

VIEW: dict[str, Any] = {
    "kind": "embedding",
    "file": "teachers/tones.onnx",
    "sample_rate_hz": tiny.RATE_HZ,
    "window_s": 1.0,
    "hop_s": 0.5,
    "scores": "logits",
    "licence": "CC BY 4.0",
    "source": "made_here",
}
TEACHER = {
    "view": "tones",
    "soft": {"alpha": 0.5},
    "logits": True,
    "labels": {label: number for number, label in enumerate(tiny.SPECIES)},
}
NOUGHT = {"probability": 0.0}
BOTH: dict[str, Any] = {
    "more_views": ["pcen"],
    "teacher": {"view": "tones"},
    "override": {"normalise": "bins", "channels": ["level", "slope"], "epochs": 8},
}
PROBE: dict[str, Any] = {
    "view": "tones",
    "backbone": "embedding",
    "head": "mlp",
    "override": {
        "normalise": "bins",
        "dynamic_range_db": 0.0,
        "epochs": 12,
        "augment": {"gain_db": 0.0, "spec_augment": NOUGHT},
    },
}


@pytest.fixture(scope="module")
def project(tiny_project: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with members that are taught, one of them of two views, and a probe; all of it run."""
    root = tmp_path_factory.mktemp("taught") / "project"
    shutil.copytree(tiny_project.root, root, symlinks=True)
    raw = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text())
    write_teacher(root / VIEW["file"])
    raw["views"]["tones"] = VIEW
    base = raw["members"]["base"]
    raw["student"]["members"] = ["taught"]
    raw["export"]["members"] = ["taught"]
    raw["members"] = {"taught": base | {"teacher": TEACHER}, "both": base | BOTH, "probe": base | PROBE}
    shutil.rmtree(root / "models")
    shutil.rmtree(root / "reports/train")
    tiny.write_params(root / "params.yaml", raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_stage("commands.project.check")
        run_stage("pipeline.spectrograms", "tones")
        for name in raw["members"]:
            run_stage("train.members", name)
            for fold in raw["folds"]["train"]:
                run_stage("train.fit", f"{name}-{fold}")
        for module in ("train.predict", "train.submit", "train.evaluate", "commands.report.build"):
            run_stage(module)
    return root


@pytest.mark.slow
def test_a_teacher_and_a_probe_go_through_all_stages(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert metrics["out_of_fold"]["probe"]["macro_roc_auc"] > 0.95, "tones tell the species"
    assert read_member("taught").teacher_digest == Path("data/stores/tones.sha256").read_text().strip()
    assert read_member("probe").teacher_digest == ""
    assert read_sidecar(Path("models/probe/0")).member.view.n_mels == 27
    saved = load_file("models/taught/0/last.safetensors")
    assert not [name for name in saved if "projection" in name]
    logged = Path("reports/train/taught-0/plots/metrics/train/teacher_loss.tsv").read_text().splitlines()
    assert len(logged) == 4
    assert not Path("reports/train/probe-0/plots/metrics/train/teacher_loss.tsv").exists()


@pytest.mark.slow
def test_a_member_of_two_views_learns_from_a_teacher(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    sidecar = read_sidecar(Path("models/both/0"))
    assert [each.kind for each in stored_views(sidecar.member.view)] == ["mel", "pcen"]
    assert not [name for name in load_file("models/both/0/last.safetensors") if "projection" in name]
    logged = pd.read_csv("reports/train/both-0/plots/metrics/train/teacher_loss.tsv", sep="\t")["teacher_loss"]
    assert logged.iloc[-1] < 0.9 * logged.iloc[0]


@pytest.mark.slow
def test_a_probe_teaches_in_a_round_of_students(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does any network behind a view: the student is of another architecture, and the probe is passed on."""
    root = tmp_path / "copy"
    shutil.copytree(project, root, symlinks=True)
    monkeypatch.chdir(root)
    raw = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    facts = {"teacher": "start", "threshold": 0.05, "power": 1.0, "probability": 0.5, "share": 0.5, "override": {}}
    first = facts | {"taught_by": {"taught": ["probe"], "probe": []}}
    raw["student"] |= {"members": ["taught", "probe"], "soundscapes": "all", "rounds": {"first": first}}
    tiny.write_params(Path("params.yaml"), raw)
    folds = raw["folds"]["train"]
    for name in ("taught", "probe"):
        for fold in folds:
            run_stage("train.student.start", f"{name}-{fold}")
    run_stage("train.student.pseudo", "first")
    assert set(read_pseudo_labels(Path("data/student/first")).students) == {f"taught-{fold}" for fold in folds}
    for name in ("taught", "probe"):
        run_stage("train.student.fit", f"first-{name}-0")
    taught, probe = (Path(f"data/student/first/{name}/0/last.safetensors").read_bytes() for name in ("taught", "probe"))
    assert taught != Path("models/taught/0/last.safetensors").read_bytes()
    assert probe == Path("models/probe/0/last.safetensors").read_bytes()


@pytest.mark.slow
def test_report_and_model_card_name_the_networks_that_members_learn_from(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    digest = file_sha256(Path("teachers/tones.onnx"))
    page = Path("reports/report.html").read_text()
    table = page[page.index('id="table-teachers"') :].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    told = ["tones", "teachers/tones.onnx", "CC BY 4.0", "made_here", digest]
    assert rows == [["both", *told], ["taught", *told], ["probe", *told]]
    run_stage("commands.export.__main__")
    card = Path("bundles/birds.bundle/README.md").read_text()
    assert (
        f"teacher: view `tones`, teachers/tones.onnx, SHA-256 {digest}, licence: CC BY 4.0, source: made\\_here" in card
    )
    (member,) = json.loads(Path("bundles/birds.bundle/bundle.json").read_text())["members"].values()
    assert member["resolved"]["teacher_network"]["sha256"] == digest


@pytest.mark.slow
def test_a_probe_is_exported_with_its_network_inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage `export` compares its scores with the pipeline's, on recordings of all lengths."""
    monkeypatch.chdir(project)
    raw = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    for members in (["probe"], ["taught", "probe"]):
        raw["export"] |= {"name": "probed", "members": members, "tolerance": 1e-4}
        tiny.write_params(Path("params.yaml"), raw)
        run_stage("commands.export.__main__")
        bundle = Path("bundles/probed.bundle")
        description = json.loads((bundle / "bundle.json").read_text())
        tails = [0] * (len(members) - 1) + [tiny.RATE_HZ * 6 // 10 + 1]  # half a window, and a tenth
        assert [each["tail"] for each in description["inputs"]] == tails
        assert description["high_hz"] == tiny.RATE_HZ / 2
    assert (
        f"; probe of teachers/tones.onnx, SHA-256 {file_sha256(Path(VIEW['file']))}, licence"
        in (bundle / "README.md").read_text()
    )


@pytest.mark.slow
def test_a_probe_predicts_where_its_network_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(project, root, symlinks=True)
    monkeypatch.chdir(root)
    asked = ["predict", "chorus/test_soundscapes", "--model", "models/probe", "--format", "csv", "--out"]
    cli.main([*asked, "found"])
    assert len(pd.read_csv(next(Path("found").rglob("*.csv")))) > 0
    write_teacher(Path(VIEW["file"]), loud=1.0)
    with pytest.raises(SystemExit):
        cli.main([*asked, "other"])
    assert "learnt from a network of SHA-256" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["batch", "probe"])
    assert "learns from embeddings, which have no picture" in capsys.readouterr().err
