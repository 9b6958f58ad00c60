"""Training, benchmarks and tests start on a machine for GPUs, which has few packages, and a handful of wheels."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from tests.fixtures.tiny import ROOT

THERE = ["matplotlib", "numpy", "pandas", "pytest", "scikit-learn", "scipy", "threadpoolctl", "timm", "torch", "tqdm"]
WHEELS = ["google-crc32c", "librosa", "numcodecs", "pydantic", "ruamel.yaml", "soundfile", "soxr", "zarr"]
WHEELS += ["universal-pathlib"]
ENTRIES = ["train/fit.py", "train/members.py", "train/predict.py", "train/submit.py", "train/evaluate.py"]
ENTRIES += ["train/student/fit.py", "tests/conftest.py", "tests/fixtures/recordings.py", "tests/fixtures/bundle.py"]
MARKED = [
    path for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text() and path != Path(__file__)
]
ENTRIES += [path.relative_to(ROOT).as_posix() for path in [*sorted((ROOT / "benchmarks").glob("*.py")), *MARKED]]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(names: list[str]) -> set[str]:
    """These distributions and all that they require."""
    found, pending = set[str](), list(map(plain, names))
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            try:
                needed = requires(name) or []
            except PackageNotFoundError:  # of another platform or Python
                needed = []
            pending += [plain(re.split(r"[^\w.-]", each)[0]) for each in needed if "extra ==" not in each]
    return found


def imported_at_once(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Line and name of what a file imports when it is imported itself."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            yield from imported_at_once([*node.body, *node.orelse])
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
            yield from imported_at_once(node.body)


def early_imports(entries: list[str], allowed: set[str]) -> set[str]:
    """`file:line imports package` of every package that is not allowed, in these files and all that they import."""
    owners, found = packages_distributions(), set[str]()
    pending, seen = [ROOT / entry for entry in entries], set[Path]()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        for line, name in imported_at_once(ast.parse(path.read_text()).body):
            own = ROOT / name.replace(".", "/")
            pending += [each for each in (own.with_suffix(".py"), own / "__init__.py") if each.is_file()]
            package = name.partition(".")[0]
            is_known = (ROOT / package).is_dir() or package in sys.stdlib_module_names
            if not is_known and not {plain(owner) for owner in owners.get(package, [])} & allowed:
                found.add(f"{path.relative_to(ROOT)}:{line} imports {package}")
    return found


def test_training_tests_and_benchmarks_import_nothing_early_that_a_machine_for_gpus_lacks() -> None:
    assert not early_imports(ENTRIES, installed_with(THERE + WHEELS))


def test_an_early_import_is_found_with_its_place() -> None:
    assert early_imports(["tests/fixtures/browser.py"], installed_with(THERE)) == {
        f"tests/fixtures/browser.py:{line} imports selenium" for line in range(15, 20)
    }
