"""Stage `code`: a digest of every file behind each stage, so that DVC knows which code a result came from.

data/code/<stage>.json names the project's files that the stage's module imports, itself or through others, each with
the digest of its syntax tree: comments, docstrings and layout do not count. A file counts too if a string names it, as
a module (`"pipeline.builder.encode"`, `"train.fit:main"`) or as a page's template, style or script. Code that is loaded
by a name put together at run time is declared by writing the whole name down as a string.

Needs nothing but the standard library, and gives the same digests on every supported Python.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from birdcache.errors import run_stage
from birdcache.files import write_durably
from birdcache.source import File, read_file

FOLDER = Path("data/code")
PACKAGES = ("birdcache", "cache", "pipeline", "train", "commands")
ASSETS, ASSET_FOLDERS = (".css", ".html", ".j2", ".js", ".md"), ("templates", "static")

# What these files do reaches no result; tests/birdcache/test_code.py has a proof for each.
WITHOUT_RESULT = {
    "birdcache/__init__.py": "offers a bundle in Python, which no stage uses",
    "birdcache/progress.py": "shows how far the work is",
    "birdcache/process.py": "ends a process with the one that started it",
    "birdcache/params/checks.py": "refuses params.yaml, or leaves it as it is",
    "birdcache/params/sections.py": "refuses params.yaml, or leaves it as it is",
    "birdcache/params/probe.py": "refuses params.yaml, or leaves it as it is",
    "birdcache/params/rules.py": "refuses params.yaml, or leaves it as it is",
}

# The loader imports the files of all sections; a result can hold only what those say that the stage reads.
LOADERS = ("birdcache/params/load.py", "birdcache/params/model.py")
SECTIONS = {
    "birdcache/params/ladder.py": {"ladder"},
    "birdcache/params/loss.py": {"members", "train", "ladder"},
    "birdcache/params/recipe.py": {"members", "train", "ladder"},
    "birdcache/params/student.py": {"student"},
    "birdcache/params/teacher.py": {"members", "train", "ladder"},
    "birdcache/params/tune.py": {"tune"},
    "birdcache/params/embedding.py": {"views"},
    "birdcache/params/views.py": {"views"},
}


class Stage(NamedTuple):
    """The module that a stage runs, and the sections of params.yaml that it reads, as dvc.yaml has them."""

    module: str
    sections: str = ""  # separated by spaces


STAGES = {
    "check": Stage("commands.project.check", "data members student train views"),
    "demo": Stage("pipeline.demo", "demo"),
    "source": Stage("pipeline.source", "data"),
    "recordings": Stage("pipeline.recordings", "data"),
    "spectrograms": Stage("pipeline.spectrograms", "data views"),
    "folds": Stage("pipeline.folds", "folds"),
    "member": Stage("train.members", "members train views"),
    "train": Stage("train.fit"),
    "predict": Stage("train.predict", "members folds predict"),
    "submit": Stage("train.submit", "members folds ensemble predict"),
    "evaluate": Stage("train.evaluate", "members folds evaluate predict"),
    "report": Stage("commands.report.build", "evaluate predict report"),
    "export": Stage("commands.export", "export"),
    "ladder_members": Stage("train.ladder.members", "ladder train views"),
    "ladder_rung": Stage("train.ladder.run", "ladder"),
    "ladder_ablation": Stage("train.ladder.run", "ladder"),
    "ladder": Stage("train.ladder.summary", "ladder evaluate"),
    "student_start": Stage("train.student.start"),
    "pseudo": Stage("train.student.pseudo", "student folds predict"),
    "student": Stage("train.student.fit", "student"),
    "student_report": Stage("train.student.report", "student folds predict"),
}
MODULE_NAME = re.compile(r"[a-z]\w*(?:\.\w+)+(?=(?::[\w.]+)?$)")


def main() -> None:
    """Write data/code/<stage>.json for every stage; a file whose content stays is not touched."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {FOLDER / f"{stage}.json": files for stage, files in stage_digests(Path()).items()}
    for stale in set(FOLDER.iterdir()) - set(found):
        stale.unlink()
    for path, files in found.items():
        content = as_file(files)
        if not path.is_file() or path.read_bytes() != content:
            write_durably(path, content)


def as_file(files: dict[str, str]) -> bytes:
    """The content of data/code/<stage>.json."""
    return (json.dumps(files, indent=1) + "\n").encode()


def stage_digests(root: Path) -> dict[str, dict[str, str]]:
    """Digests of the files behind each stage of the project at `root`: stage -> file -> digest."""
    code = Code(root)
    return {name: code.behind(stage) for name, stage in STAGES.items()}


class Code:
    """The project's own files: which refers to which, and the digest of each."""

    def __init__(self, root: Path) -> None:
        self._root = root
        paths = (path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file())
        self._files = {path.relative_to(root).as_posix() for path in paths}
        self._read: dict[str, File] = {}

    def behind(self, stage: Stage) -> dict[str, str]:
        """Digests of all files that can change the stage's result, sorted by name."""
        pending, seen, read = list(self._of_module(stage.module)), set[str](), {*stage.sections.split()}
        while pending:
            name = pending.pop()
            if name not in seen and name not in WITHOUT_RESULT:
                seen.add(name)
                for other in self._referred(name):
                    if name not in LOADERS or other not in SECTIONS or SECTIONS[other] & read:
                        pending.append(other)
        return {name: self.file(name).digest for name in sorted(seen) if self.file(name).digest}

    def file(self, name: str) -> File:
        """A file by its name relative to the root, read once."""
        if name not in self._read:
            self._read[name] = read_file(name, (self._root / name).read_bytes())
        return self._read[name]

    def _referred(self, name: str) -> Iterator[str]:
        for module in self.file(name).modules:
            yield from self._of_module(module)
        for text in self.file(name).texts:
            if named := MODULE_NAME.match(text):
                yield from self._of_module(named[0])
            elif text.endswith(ASSETS + ASSET_FOLDERS):
                yield from self._assets(Path(name).parent / text)
                yield from self._assets(Path(text))

    def _of_module(self, module: str) -> Iterator[str]:
        """The file of a module or package, if it is ours, and of the packages around it, which are run with it."""
        path = module.replace(".", "/")
        found = [name for name in (f"{path}.py", f"{path}/__main__.py", f"{path}/__init__.py") if name in self._files]
        if found:
            yield from found
            yield from self._of_module(module.rpartition(".")[0])

    def _assets(self, place: Path) -> Iterator[str]:
        """The template, style or script at a path, or all of a folder."""
        for name in self._files:
            if name.endswith(ASSETS) and place in (Path(name), *Path(name).parents):
                yield name


if __name__ == "__main__":
    run_stage(main)
