"""`birdcache.load(...)` gives what `birdcache predict` writes."""

from __future__ import annotations

import csv
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import birdcache
from birdcache import cli
from birdcache.bundle.api import LoadedBundle
from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT


@pytest.fixture(scope="module")
def bundle(exported: Exported) -> LoadedBundle:
    return birdcache.load(exported.bundle)


@pytest.fixture
def dawn(exported: Exported) -> Path:
    return exported.root / "chorus/test_soundscapes/dawn.ogg"


def test_detections_are_those_of_the_command(
    exported: Exported, bundle: LoadedBundle, dawn: Path, tmp_path: Path
) -> None:
    result = bundle.predict(str(dawn), threshold=0.1)
    cli.main(["predict", str(dawn), "--model", str(exported.bundle), "--out", str(tmp_path), "--threshold", "0.1"])
    with (tmp_path / "detections.csv").open() as file:
        rows = [tuple(row) for row in csv.reader(file)][1:]
    found = [(x.file, f"{x.start_s:g}", f"{x.end_s:g}", x.label, f"{x.score:.4f}") for x in result.detections]
    assert found == rows
    assert found, "something is detected"


def test_scores_have_a_row_for_each_window_and_a_column_for_each_label(bundle: LoadedBundle, dawn: Path) -> None:
    result = bundle.predict(dawn)
    assert result.scores.shape == (4, len(result.labels)) == (4, len(bundle.labels))
    assert result.start_s.tolist() == [0, 5, 10, 15]
    assert result.end_s.tolist() == [5, 10, 15, 20]
    above = result.scores >= np.array([bundle.thresholds[label] for label in result.labels], np.float32)
    assert len(result.detections) == above.sum()


def test_detections_become_a_table(bundle: LoadedBundle, dawn: Path) -> None:
    detections = bundle.predict(dawn, threshold=0).detections
    table = detections.to_pandas()
    assert list(table) == ["start_s", "end_s", "label", "score", "file"]
    assert len(table) == len(detections) == 4 * len(bundle.labels)
    assert bundle.predict(dawn, threshold=1).detections.to_pandas().empty


@pytest.mark.parametrize(("name", "rule"), [("none.ogg", "cannot be read"), ("text.ogg", "is not audio of a known")])
def test_a_file_that_cannot_be_read_names_itself_the_rule_and_a_hint(
    bundle: LoadedBundle, tmp_path: Path, name: str, rule: str
) -> None:
    (tmp_path / "text.ogg").write_text("no sound")
    with pytest.raises(birdcache.BirdcacheError, match=rule) as caught:
        bundle.predict(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert str(caught.value).endswith(f"; {caught.value.hint}")  # type: ignore[attr-defined]


def test_a_folder_that_is_no_bundle_and_a_threshold_out_of_bounds_are_refused(
    bundle: LoadedBundle, dawn: Path, tmp_path: Path
) -> None:
    with pytest.raises(birdcache.BirdcacheError, match="is no bundle"):
        birdcache.load(tmp_path)
    with pytest.raises(birdcache.BirdcacheError, match="must be a number from 0 to 1"):
        bundle.predict(dawn, threshold=1.5)


def test_version_is_that_of_pyproject(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert birdcache.__version__ == wanted == importlib.metadata.version("birdcache")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"birdcache {wanted}\n"


def run(code: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_importing_birdcache_imports_nothing_that_has_to_be_installed() -> None:
    code = (
        "import sys; before = set(sys.modules); import birdcache; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert run(code).stdout.split() == ["birdcache"]


def test_command_page_and_bundles_import_no_pandas_and_no_package_of_a_checkout() -> None:
    code = (
        "import sys; from birdcache import cli; cli.build_parser(); import birdcache.predict.command; "
        "import birdcache.page.server, birdcache.bundle.api; "
        "print(*{'pandas', 'cache', 'pipeline', 'train', 'commands', 'scipy'} & set(sys.modules))"
    )
    done = run(code)
    assert (done.stdout.split(), done.stderr) == ([], "")


@pytest.mark.parametrize("arguments", [["plan"], ["predict", "x.ogg", "--model", "models"]])
def test_outside_a_checkout_a_command_of_the_project_says_where_it_works(tmp_path: Path, arguments: list[str]) -> None:
    shutil.copytree(ROOT / "birdcache", tmp_path / "birdcache")
    (tmp_path / "x.ogg").touch()
    done = run(f"from birdcache import cli; cli.main({arguments!r})", tmp_path)
    assert done.returncode == 1
    assert "works inside a checkout of the project: git clone it, run `make setup`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_tells_commands_that_work_anywhere_from_those_of_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    anywhere, _, project = capsys.readouterr().out.partition("in a checkout")
    assert [name for name in cli.ANYWHERE if f"\n  {name} " in anywhere] == ["predict", "page", "serve", "completion"]
    assert all(f"\n  {name} " in project for name in cli.IN_CHECKOUT)
