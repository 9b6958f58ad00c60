"""The Triton kernel against torch's operations, in Triton's interpreter; and that it compiles for a GPU.

A process of its own for each, since Triton asks only once whether it is to interpret.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView, multi_view
from cache.store import Store
from train.augment import training_batches
from train.augment.batch import BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.frames import HostFrames

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not there for this system")
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CASES = [
    "nothing", "everything", "bytes", "pad", "loop", "gathered pad", "gathered loop", "no partner", "no background",
    "noise alone", "background alone", "cutmix", "masks", "shift", "silence", "pcen view", "clips to present",
    "filters", "presented", "muffled", "third", "gathered third", "bfloat16",
]  # fmt: skip
LIMITS = {
    "bfloat16": 0.02,
    "clips to present": 1e-4,
    "presented": 1e-3,
    "silence": 1e-4,
}  # silence is all rounding, made loud


def output_of(script: str, **environment: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / script], env=variables, capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    """The largest difference of any cell, by case."""
    found: dict[str, float] = json.loads(output_of("interpreted_kernel.py", TRITON_INTERPRET="1").splitlines()[-1])
    return found


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_makes_what_torch_makes(differences: dict[str, float], case: str) -> None:
    assert differences[case] < LIMITS.get(case, 1e-5)
    assert set(differences) == set(CASES)


@needs_triton
@pytest.mark.slow
def test_the_kernel_compiles_for_an_h100_without_one(tmp_path: Path) -> None:
    assert "sm_90" in output_of("compiled_kernel.py", TRITON_CACHE_DIR=str(tmp_path))


@pytest.fixture
def batches(
    random_store: Callable[..., Store], examples_of: Callable[..., Examples], view: MelView, recipe: Recipe
) -> TrainingBatches:
    """Batches such as the kernel can make."""
    store, cpu = random_store((70, 50, 40, 20), view), torch.device("cpu")
    clip = resolve_recipe(recipe, {"normalise": "clip", "augment": {"mixup": {"probability": 0.5}}})
    normaliser = Normaliser(view, clip, BinStatistics(torch.zeros(1, 32), torch.ones(1, 32)))
    planner = Planner(examples_of(store, (0, 1, 0, 1)), view, clip)
    return TrainingBatches(planner, HostFrames(store, cpu), BatchTransform(view, clip, normaliser, cpu))


@needs_triton
def test_a_kernel_makes_images_if_it_can(batches: TrainingBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches._kernel.finishes
    backwards = {"augment": {"reverse": {"probability": 0.5}}}
    for changes in ({"normalise": "none"}, {"channels": ["level", "slope"]}, backwards):
        monkeypatch.setattr(batches.augment, "recipe", resolve_recipe(batches.augment.recipe, changes))
        del batches.__dict__["_kernel"]
        assert not batches._kernel.finishes


def test_a_gpu_uses_the_kernel_for_recipes_and_views_that_it_knows(
    batches: TrainingBatches, view: MelView, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not batches._uses_kernel, "on a CPU"
    monkeypatch.setattr(batches.augment, "device", torch.device("cuda"))
    assert TrainingBatches(batches.planner, batches._frames, batches.augment)._uses_kernel
    with monkeypatch.context() as changed:
        changed.setattr(batches.augment, "view", multi_view([view, view]))
        assert not TrainingBatches(batches.planner, batches._frames, batches.augment)._uses_kernel
    monkeypatch.setattr(training_batches, "KNOWN", training_batches.KNOWN - {"mixup"})  # as if it were its user's own
    assert not TrainingBatches(batches.planner, batches._frames, batches.augment)._uses_kernel


def test_without_triton_or_a_compiler_torch_makes_the_batches_and_says_so_once(
    batches: TrainingBatches, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [made.clips for made, _ in batches.epoch(0)] * 2
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "train.augment.kernel", raising=False)
    batches._uses_kernel = True
    found = [made.clips for made, _ in [*batches.epoch(0), *batches.epoch(0)]]
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    said = capsys.readouterr().out
    assert said.startswith("batches are made by torch, one operation after another, since Triton cannot be used: ")
    assert len(said.splitlines()) == 1


def test_memory_that_runs_out_in_the_kernel_is_not_hidden(batches: TrainingBatches) -> None:
    batches._uses_kernel = True
    batches.__dict__["_kernel"] = Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        next(iter(batches.epoch(0)))
