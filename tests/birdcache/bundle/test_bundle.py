"""Opening a bundle, and running it where torch is not installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from birdcache.bundle.format import DESCRIPTION, MODEL, SUMS, is_bundle
from birdcache.bundle.graph import threads_asked_for
from birdcache.bundle.graph_process import PROVIDERS, open_session
from birdcache.bundle.read import open_bundle
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError
from birdcache.predict.calibrator import Calibrator
from birdcache.predict.postprocess import PostProcessing
from commands.export.bundle_files import requirements_text, write_sums
from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT

# a Python in which only birdcache/ and its dependencies can be imported
ONLY = """
import sys
FORBIDDEN = set({forbidden!r})
class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=root)
sys.meta_path.insert(0, Nothing())
from birdcache import cli
cli.main(sys.argv[1:])
"""


@pytest.fixture
def bundle(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return shutil.copytree(exported.bundle, tmp_path / "x.bundle")


def not_of_runtime() -> list[str]:
    """Installed modules that would be missing beside a wheel, and the project's other packages."""
    packages = importlib.metadata.packages_distributions()
    pending, seen = requirements_text().split(), set[str]()
    while pending:
        name = re.split(r"[ <>=!~;\[(]", pending.pop())[0].lower().replace("_", "-")
        if name not in seen:
            seen.add(name)
            pending += [each for each in importlib.metadata.requires(name) or [] if "extra ==" not in each]
    ours = {"birdcache"}
    return [
        *sorted(
            module
            for module, names in packages.items()
            if not {each.lower().replace("_", "-") for each in names} & (seen | ours)
        ),
        "cache",
        "commands",
        "pipeline",
        "train",
    ]


def run_alone(root: Path, model: str, out: Path) -> subprocess.CompletedProcess[str]:
    """`birdcache predict` where nothing but the runtime is installed."""
    arguments = ["predict", "chorus/test_soundscapes", "--model", model, "--out", str(out)]
    command = [sys.executable, "-c", ONLY.format(forbidden=not_of_runtime()), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    formats = ["--format", "csv,raven,audacity,kaggle"]
    return subprocess.run([*command, *formats], cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_bundle_runs_where_nothing_but_the_runtime_is_installed(exported: Exported, tmp_path: Path) -> None:
    assert {"torch", "timm", "zarr", "dvc", "pandas", "sklearn", "librosa", "onnx"} <= set(not_of_runtime())
    done = run_alone(exported.root, str(exported.bundle), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "submission.csv").read_text().count("\n") == 5


@pytest.mark.slow
def test_trained_models_say_what_they_miss_where_there_is_no_torch(exported: Exported, tmp_path: Path) -> None:
    done = run_alone(exported.root, "models", tmp_path)
    assert done.returncode == 1
    assert re.search(r"--model models \(trained models\) needs \w+, which is not installed; run `make", done.stderr)


def test_requirements_are_those_of_the_wheel(exported: Exported) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (exported.bundle / "requirements.txt").read_text().split() == project["dependencies"]


@pytest.mark.parametrize("name", [MODEL, DESCRIPTION, "labels.csv"])
def test_a_bundle_with_a_changed_byte_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(CommandError, match=rf"{name}: has other bytes than SHA256SUMS promises"):
        open_bundle(bundle)


def test_a_bundle_without_one_of_its_files_is_refused(bundle: Path) -> None:
    (bundle / "labels.csv").unlink()
    with pytest.raises(CommandError, match=r"labels.csv: is missing; copy the bundle again"):
        open_bundle(bundle)
    (bundle / SUMS).unlink()
    with pytest.raises(CommandError, match=r"SHA256SUMS: is missing; copy the bundle again"):
        open_bundle(bundle)


def test_sums_must_name_the_graph(bundle: Path) -> None:
    lines = (bundle / SUMS).read_text().splitlines(keepends=True)
    (bundle / SUMS).write_text("".join(line for line in lines if MODEL not in line))
    with pytest.raises(CommandError, match=r"names no model.onnx"):
        open_bundle(bundle)


def test_a_bundle_of_another_version_is_refused(bundle: Path) -> None:
    content = json.loads((bundle / DESCRIPTION).read_text())
    (bundle / DESCRIPTION).write_text(json.dumps(content | {"version": 2}))
    write_sums(bundle)
    with pytest.raises(CommandError, match=r"it is of another version: export it again"):
        open_bundle(bundle)


def test_a_bundle_calibrates_as_its_description_says(exported: Exported, bundle: Path) -> None:
    content = json.loads((bundle / DESCRIPTION).read_text())
    slopes, offsets = [2.0] * len(content["labels"]), [-1.0] * len(content["labels"])
    (bundle / DESCRIPTION).write_text(json.dumps(content | {"slopes": slopes, "offsets": offsets}))
    write_sums(bundle)
    scores = np.random.default_rng(1).random((1, 6, len(slopes))).astype(np.float32)
    plain, calibrated = (BundlePredictor(open_bundle(each)).final(scores, [6]) for each in (exported.bundle, bundle))
    post = PostProcessing(content["smoothing"], content["file_max"], Calibrator(slopes, offsets))
    assert calibrated == pytest.approx(post(scores[0]), abs=1e-6)
    assert abs(calibrated - plain).max() > 0.1


@pytest.mark.parametrize("slopes", [[1.0], [0.0], [-1.0]])
def test_slopes_must_be_of_the_labels_and_above_zero(bundle: Path, slopes: list[float]) -> None:
    content = json.loads((bundle / DESCRIPTION).read_text())
    slopes *= len(content["labels"]) if slopes != [1.0] else 1
    (bundle / DESCRIPTION).write_text(json.dumps(content | {"slopes": slopes, "offsets": [0.0] * len(slopes)}))
    write_sums(bundle)
    with pytest.raises(CommandError, match=r"bundle.json: .*(as many as labels|greater than 0)"):
        open_bundle(bundle)


def test_a_gpu_that_cannot_be_used_is_not_replaced_in_silence(bundle: Path) -> None:
    with pytest.raises(CommandError, match=r"--device cuda: this ONNX Runtime cannot use a GPU"):
        open_bundle(bundle, "cuda")
    assert open_bundle(bundle, "auto").graph.device == "cpu"


@pytest.mark.parametrize("runs_on", [["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]])
def test_a_gpu_that_is_offered_may_still_not_be_used(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, runs_on: list[str]
) -> None:
    """ONNX Runtime offers what it was built with, and says only afterwards what it could load."""

    class Session:
        def __init__(self, *_: Any, providers: list[str]) -> None:
            assert providers == ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_providers(self) -> list[str]:
            return runs_on

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    for device in ("auto", "cuda"):
        assert open_session((bundle / MODEL).read_bytes(), device)[1] == ("cuda" if len(runs_on) == 2 else "cpu")


@pytest.mark.parametrize(("said", "threads"), [("", 0), ("4,2", 4), (" 3 ", 3), ("many", 0)])
def test_threads_are_those_that_are_asked_for(monkeypatch: pytest.MonkeyPatch, said: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads_asked_for() == threads


def test_sums_that_are_no_text_are_refused(bundle: Path) -> None:
    (bundle / SUMS).write_bytes(b"\xff")
    with pytest.raises(CommandError, match=r"SHA256SUMS: cannot be read .*copy the bundle again"):
        open_bundle(bundle)


def test_what_is_left_of_a_bundle_is_one(bundle: Path) -> None:
    (bundle / DESCRIPTION).unlink()
    assert is_bundle(bundle)
    assert is_bundle(bundle.parent / "nowhere.bundle")


def test_a_folder_of_models_is_no_bundle(exported: Exported) -> None:
    assert is_bundle(exported.bundle)
    assert not is_bundle(exported.root / "models")
