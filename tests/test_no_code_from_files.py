"""No file that is read can run code: no pickle anywhere, weights as safetensors, networks only by names of timm."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from pydantic import ValidationError

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from tests.fixtures.tiny import ROOT, tiny_params
from train.model.weight_file import read_tensors

PACKAGES = ("birdcache", "cache", "pipeline", "train", "commands", "benchmarks")
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "shelve", "marshal", "imp", "yaml"}
CALLS = {"eval", "exec", "__import__", "compile"}
METHODS = {"torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "joblib.load", "joblib.dump"}
METHODS |= {"pd.read_pickle", "pandas.read_pickle", "np.fromregex", "os.system", "os.popen"}
KEYWORDS = {"allow_pickle": False, "weights_only": True, "shell": False, "trust_remote_code": False}


def dotted(node: ast.AST) -> str:
    """The name a call goes by, such as torch.load."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def findings(source: str) -> Iterator[str]:
    """What in a piece of Python could run code of a file, by line."""
    for node in ast.walk(ast.parse(source)):
        for name in imported(node):
            if name.split(".")[0] in MODULES or name in METHODS:
                yield f"{node.lineno}: imports {name}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            of_weights = name == "torch.load" and "weights_only" in given  # whose value is looked at below
            if (name in CALLS | METHODS and not (name == "torch.load" and of_weights)) or name.endswith(
                ("to_pickle", "read_pickle")
            ):
                yield f"{node.lineno}: calls {name}"
            for key, safe in KEYWORDS.items():
                if key in given and not (isinstance(given[key], ast.Constant) and given[key].value is safe):  # type: ignore[attr-defined]
                    yield f"{node.lineno}: {key} is not {safe}"
            if name in ("np.load", "numpy.load") and "allow_pickle" not in given:
                yield f"{node.lineno}: {name} without allow_pickle=False"


FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", [*FILES, *sorted(ROOT.glob("*.py"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path: Path) -> None:
    assert list(findings(path.read_text())) == []


DANGEROUS = """
import pickle; import _pickle as p; from pickle import loads; from torch import load; import shelve; import marshal
from joblib import load; from yaml import unsafe_load; torch.load(path); joblib.load(path); pd.read_pickle(path)
table.to_pickle(path); np.load(path); np.load(path, allow_pickle=True); np.load(path, allow_pickle=x); eval(text)
exec(text); run(command, shell=True); torch.save(model, path); f(x, weights_only=False)
"""


@pytest.mark.parametrize("line", DANGEROUS.strip().replace("\n", "; ").split("; "))
def test_the_search_finds_what_could(line: str) -> None:
    assert len(list(findings(f"def f():\n    {line}\n"))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "model.eval()",
        "re.compile(text)",
        "json.load(file)",
    ],
)
def test_the_search_leaves_the_rest_alone(line: str) -> None:
    assert list(findings(line)) == []


def member(backbone: str) -> Member:
    return Member.model_validate(tiny_params("chorus")["members"]["base"] | {"backbone": backbone})


PLACES = ["hf-hub:eve/net", "hf_hub:eve/net", "local-dir:/tmp/net", "local_dir:net", "eve/net", "../net", "C:\\net"]


@pytest.mark.parametrize("backbone", [*PLACES, "", "https://eve/net", "resnet18.hf-hub:eve/net", "resnet18\n", "~net"])
def test_network_is_no_place_to_fetch_from(backbone: str) -> None:
    with pytest.raises(ValidationError, match=r"must be the name of a model in timm\.list_models\(\)"):
        member(backbone)


def test_every_name_of_timm_is_accepted() -> None:
    names = [*timm.list_models(), *timm.list_models(pretrained=True)]
    assert len(names) > 1000
    assert all(member(name) for name in names)


class Trap:
    """What torch.save writes of this runs `touch` where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights.safetensors.pt", "weights", "x.safetensors"])
def test_weights_in_a_file_that_runs_code_are_refused_and_nothing_runs(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "sprung"
    torch.save({"weight": torch.ones(2), "more": Trap(trap)}, tmp_path / name)
    with pytest.raises(TrainError, match=r"is no file of weights .*safetensors\.torch\.save_file"):
        read_tensors(tmp_path / name, "params.yaml")
    assert not trap.exists()
