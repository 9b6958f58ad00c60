"""Stage `code`: digests of the code behind each stage are neither deaf to an edit nor changed by a comment."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from birdcache import code
from birdcache.params import load as parameters
from birdcache.params import rules
from birdcache.source import read_file
from tests.conftest import TinyProject
from tests.fixtures.tiny import ROOT

Digests = dict[str, dict[str, str]]
DVC: dict[str, Any] = {}
for pipeline in (ROOT / "dvc.yaml", ROOT / "optional/dvc.yaml"):
    DVC |= YAML(typ="safe", pure=True).load(pipeline.read_text())["stages"]
ENTRIES = {name: entry.get("do", entry) for name, entry in DVC.items() if name != "code"}
Edit = Callable[[str, str, str], set[str]]
DECODING = {"recordings", "spectrograms", "report", "export", "check"}  # who reads audio files, or imports what does
MEMBERS = {"member", "ladder_members", "ladder", "check"}
TRAINING = {"train", "ladder_rung", "ladder_ablation", "student"}
LEARNT = {"predict", "submit", "evaluate", "report", "export", "pseudo", "student_report"}
ALL_BUT_EARLY = set(ENTRIES) - {"demo", "source", "recordings", "folds", "student_start"}
PICTURES = {"report", "ladder"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's code. Tests leave it as it was."""
    root = tmp_path_factory.mktemp("checkout")
    for package in code.PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def before(checkout: Path) -> Digests:
    return code.stage_digests(checkout)


@pytest.fixture(scope="module")
def edited(checkout: Path, before: Digests) -> Edit:
    """A function that edits a file and names the stages whose digests change."""
    project = code.Code(checkout)

    def edit(file: str, old: str, new: str) -> set[str]:
        path, text = checkout / file, (checkout / file).read_text()
        assert old in text, f"{file} no longer holds {old}; choose another edit"
        path.write_text(text.replace(old, new, 1))
        vars(project)["_read"].pop(file, None)  # all others are as they were
        try:
            return {name for name, stage in code.STAGES.items() if before[name] != project.behind(stage)}
        finally:
            path.write_text(text)
            vars(project)["_read"].pop(file)

    return edit


EDITS = {  # file: a piece of it, another one, and the stages that run again for that
    "birdcache/params/views.py": ("return int(-(-samples", "return 1 + int(-(-samples", ALL_BUT_EARLY),
    "birdcache/params/recipe.py": (
        "if nested else value",
        "if nested else 2 * value",
        ALL_BUT_EARLY - {"spectrograms"},
    ),
    "birdcache/audio/rejected.py": ("remove it from the data set", "leave it out", DECODING),
    "birdcache/figures.py": ("#3b6fb6", "#3b6fb7", PICTURES),
    "birdcache/audio/formats/wav.py": ('b"data"', 'b"DATA"', DECODING),
    "birdcache/predict/postprocess.py": ("return ", "return 2 * ", LEARNT),
    "birdcache/predict/submission.py": ('" ".join', '"".join', {"check", "recordings", "submit", "export"}),
    "cache/pool.py": ("return ", "return None or ", {"spectrograms"}),
    "cache/store.py": ("return ", "return None or ", {"spectrograms"} | TRAINING | LEARNT | MEMBERS),
    "pipeline/builder/encode.py": ("return ", "return 2 * ", {"spectrograms", "export", "check"}),
    "pipeline/dataset/groups.py": ("return ", "return 2 * ", {"folds"}),
    "pipeline/synthetic/species.py": ("return ", "return 2 * ", {"demo"}),
    "train/augment/ops.py": ("return ", "return 2 * ", TRAINING | LEARNT - {"submit", "evaluate"} | {"check"}),
    "train/data/windows.py": (
        "return ",
        "return None or ",
        TRAINING | {"predict", "pseudo", "report", "student_report"},
    ),
    "train/ladder/tables.py": ("return ", "return None or ", {"ladder"}),
    "train/score/metrics.py": ("return ", "return 2 * ", TRAINING | LEARNT - {"predict", "submit"} | {"ladder"}),
    "commands/report/clips.py": ("return ", "return None or ", {"report"}),
    "commands/report/templates/page.css": ("{", "{ color: red; ", {"report"}),
    "commands/export/graph.py": ("return ", "return None or ", {"export"}),
}
DEAF = (
    "birdcache/params/views.py",
    "birdcache/params/recipe.py",
    "birdcache/audio/rejected.py",
    "birdcache/figures.py",
)


@pytest.mark.parametrize("file", EDITS)
def test_a_real_edit_runs_the_stages_again_whose_results_it_can_change(edited: Edit, file: str) -> None:
    old, new, stages = EDITS[file]
    assert edited(file, old, new) == stages


def test_the_table_of_edits_holds_the_four_that_once_went_unheard_and_files_of_every_package() -> None:
    assert set(DEAF) < set(EDITS)
    assert {file.split("/")[0] for file in EDITS} == set(code.PACKAGES)


@pytest.mark.parametrize("file", [file for file in EDITS if file.endswith(".py")])
def test_comments_docstrings_and_layout_run_no_stage_again(edited: Edit, file: str) -> None:
    assert edited(file, '"""\n\n', '"""\n\n# a comment\n\n\n') == set()
    assert edited(file, '"""', '"""Otherwise: ') == set()


@pytest.mark.parametrize("name", ENTRIES)
def test_each_stage_of_the_pipelines_stands_in_the_table_with_its_module_and_sections(name: str) -> None:
    entry = ENTRIES[name]
    sections = {re.split(r"\W", key)[0] for key in entry.get("params", [])}
    module = re.match(r"python -m (\S+)", entry["cmd"])
    assert module is not None
    stage = code.STAGES[name]
    assert (stage.module, {*stage.sections.split()}) == (module[1], sections)
    assert [dep for dep in entry["deps"] if dep.startswith("data/code")] == [f"data/code/{name}.json"]
    assert not [dep for dep in entry["deps"] if dep.split("/")[0] in code.PACKAGES]


def test_the_table_holds_no_other_stage() -> None:
    assert set(code.STAGES) == set(ENTRIES)


def write(root: Path, files: dict[str, str]) -> code.Code:
    """A project of these files; stage `train` runs train/fit.py."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return code.Code(root)


FIT = code.STAGES["train"]


def test_files_count_that_are_imported_inside_functions_or_named_by_a_string(tmp_path: Path) -> None:
    files = {
        "train/fit.py": "def main():\n    from cache import store\n    import_module('pipeline.builder.encode')\n",
        "cache/store.py": "CHILD = 'birdcache.child:main'",
        "birdcache/child.py": "from . import other",
        "birdcache/other.py": "PAGE = Path(__file__).parent / 'templates'",
        "birdcache/templates/page.js": "let x",
        "pipeline/builder/encode.py": "X = 1",
    }
    project = write(tmp_path, files | {"pipeline/builder/unused.py": "X = 1", "birdcache/templates/notes.txt": "x"})
    assert set(project.behind(FIT)) == set(files)


def test_packages_around_a_module_count_if_they_hold_code(tmp_path: Path) -> None:
    files = {"train/fit.py": "import cache.a.b", "cache/a/b.py": "X = 1", "cache/a/__init__.py": "Y = 1"}
    project = write(tmp_path, files | {"cache/__init__.py": "# nothing"})
    assert set(project.behind(FIT)) == set(files)


def test_a_string_that_names_no_file_of_ours_counts_for_nothing(tmp_path: Path) -> None:
    files = {"train/fit.py": "X = 'os.path', 'train.none', '../templates', 'templates', '', '/etc/static'"}
    assert set(write(tmp_path, files).behind(FIT)) == set(files)


def digest(text: str) -> str:
    return read_file("x.py", text.encode()).digest


def test_what_python_does_not_run_changes_no_digest() -> None:
    assert digest('"""One."""\ndef f(a):\n    """Two."""\n    return (a)  # three\n') == digest("def f(a): return a")
    assert digest('x = 1\n"""Of x."""') == digest("x = 1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = None", "x = ()"),
        ("x = -1", "x = 1"),
        ("x = a < b", "x = a <= b"),
        ("f'{x}'", "f'{x!r}'"),
        ("y = f'{x:>4}'", "y = f'{x:>5}'"),
        ("def f(a, b=1): ...", "def f(a=1, b=1): ...".replace("a=1, ", "a, *, ")),
        ("for x in y: pass", "for x in y: pass\nelse: z()"),
        ("x: int = 1", "x: float = 1"),
        ("x = {**a}", "x = {None: a}"),
    ],
)
def test_what_python_runs_changes_the_digest(one: str, other: str) -> None:
    assert digest(one) != digest(other)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0"])
def test_every_python_gives_the_same_digests(version: str) -> None:
    python = f"python{version.rpartition('.')[0]}"
    script = "import json, pathlib, birdcache.code as c; print(json.dumps(c.stage_digests(pathlib.Path())))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYENV_VERSION": version}  # for pyenv's shims
    command = ["env", python, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 127:
        pytest.skip(f"{python} is not installed")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == code.stage_digests(ROOT)


def test_only_changed_files_are_written_and_those_of_former_stages_go(
    checkout: Path, before: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    code.main()
    written = {path: path.stat().st_mtime_ns for path in code.FOLDER.iterdir()}
    assert {path.stem: json.loads(path.read_bytes()) for path in written} == before
    (code.FOLDER / "gone.json").touch()
    (code.FOLDER / "folds.json").write_text("{}")
    code.main()
    changed = {path.name for path, time in written.items() if path.stat().st_mtime_ns != time}
    assert changed == {"folds.json"}
    assert set(code.FOLDER.iterdir()) == set(written)


def test_it_imports_the_standard_library_alone() -> None:
    modules = "{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)"
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import birdcache.code; print({modules})"
    command = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) <= {"birdcache", "__main__"}


# the files that count for no stage, and for some stages only


def test_every_exception_and_section_is_a_file() -> None:
    for name in (*code.WITHOUT_RESULT, *code.SECTIONS, *code.LOADERS):
        assert (ROOT / name).is_file(), name


def functions(name: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse((ROOT / name).read_text())) if isinstance(node, ast.FunctionDef)]


def test_the_package_itself_only_loads_what_no_stage_asks_it_for(before: Digests) -> None:
    tree = ast.parse((ROOT / "birdcache/__init__.py").read_text())
    ran = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.If, ast.Expr))]
    assert {ast.unparse(node).split(" ")[0] for node in ran} <= {"from", "import", "__all__"}
    for name in {name for files in before.values() for name in files if name.endswith(".py")}:
        assert not re.search(
            r"^\s*(import birdcache$|from birdcache import)", (ROOT / name).read_text(), re.MULTILINE
        ), name


def test_progress_returns_nothing_and_writes_no_file() -> None:
    public = [each for each in functions("birdcache/progress.py") if not each.name.startswith("_")]
    assert {ast.unparse(each.returns) for each in public if each.returns} <= {"None"}
    assert not re.search(r"open\(|write_|\.write\((?!line)", (ROOT / "birdcache/progress.py").read_text())


def test_processes_return_nothing_that_a_result_could_hold() -> None:
    """A number is that of files that may be open."""
    public = [each for each in functions("birdcache/process.py") if not each.name.startswith("_")]
    assert {ast.unparse(each.returns) for each in public if each.returns} == {"None", "bool", "int"}
    assert not re.search(r"open\(|write_", (ROOT / "birdcache/process.py").read_text())


def test_plain_sections_have_no_default_and_their_validators_change_no_value() -> None:
    tree = ast.parse((ROOT / "birdcache/params/sections.py").read_text())
    fields = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    assert len(fields) > 40
    defaults = {ast.unparse(field.target): ast.unparse(field.value) for field in fields if field.value is not None}
    assert defaults.pop("cuda_graph") == "'auto'"  # of machine, on which no stage depends
    assert defaults.pop("calibration") == "'none'"
    assert defaults.pop("calibrate_on") == "'recordings'"  # which alone there were
    assert defaults.pop("threshold_for") == "'f1'"  # what thresholds were always for
    assert defaults.pop("species_weight") == "1.0"  # without a list nothing is weighed
    assert defaults.pop("precision") == "'float32'"  # of exports, which have no other
    assert defaults.pop("fold_soup") == "False"  # which alone is taken
    assert defaults.pop("soundscapes") == "'site'"  # of folds, which knew no soundscapes before there was the key
    nothing = {"None", "{}", "0", "0.0", "1.0", "True"}
    assert set(defaults.values()) <= nothing, "without a key, all is as before there was one"
    for each in functions("birdcache/params/sections.py"):
        returned = {ast.unparse(node.value) for node in ast.walk(each) if isinstance(node, ast.Return) and node.value}
        assert returned == {each.args.args[1].arg}, each.name


def test_checks_of_values_return_them_unchanged() -> None:
    checks = [each for each in functions("birdcache/params/checks.py") if each.name == "check"]
    assert len(checks) == 2
    for each in checks:
        returned = {ast.unparse(node.value) for node in ast.walk(each) if isinstance(node, ast.Return) and node.value}
        assert returned == {each.args.args[0].arg}


def test_rules_refuse_params_or_leave_them_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = parameters.load(ROOT / "params.yaml")
    monkeypatch.setattr(rules, "problems", lambda params: ())
    assert parameters.load(ROOT / "params.yaml") == checked
    importers = {
        path.relative_to(ROOT).as_posix()
        for package in code.PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"birdcache\.params(\.| import )rules", path.read_text())
    }
    assert {Path(name).parent.as_posix() for name in importers} == {"birdcache/params"}


def test_a_stage_reads_no_section_but_those_of_the_table(tiny_project: TinyProject) -> None:
    for stage, keys in tiny_project.reads.items():
        read = {key.split(".")[0] for key in keys} - {"machine"}
        assert read == {*code.STAGES[stage.partition("@")[0]].sections.split()}, stage


def test_folds_know_nothing_of_audio(before: Digests) -> None:
    heard = [
        file for file in before["folds"] if file.startswith(("birdcache/audio", "pipeline/builder", "birdcache/ann"))
    ]
    assert heard == []
    assert len(before["folds"]) < 16
