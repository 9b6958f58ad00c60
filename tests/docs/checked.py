"""Whether commands can be right: known, with known flags; files, stages and keys that they name exist. Runs nothing."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from dvc.cli.parser import get_main_parser
from ruamel.yaml import YAML

from birdcache.cli import build_parser
from birdcache.params.recipe import completed
from tests.fixtures.tiny import ROOT

PLAIN = {
    "cat",
    "cd",
    "chgrp",
    "chmod",
    "cp",
    "echo",
    "export",
    "git",
    "head",
    "kaggle",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "source",
    "find",
    "unzip",
}
SEPARATORS = {"&&", "||", ";", "|", "&"}
OF_THE_PROJECT = ("benchmarks", "birdcache", "docs", "pipeline", "train")


class WrongCommandError(Exception):
    """A command of the documentation that cannot work as it stands there."""


def check(text: str, partly: bool = False) -> None:
    """Check every command of a block; `partly`: arguments may be missing, as where a text only names a command.

    Raises
    ------
    WrongCommandError
        Naming the command and what is wrong with it.
    """
    for words in simple_commands(text):
        try:
            _check_one(words, partly)
        except WrongCommandError as error:
            raise WrongCommandError(f"{' '.join(words)}: {error}") from None


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each command, without comments, redirections and variables that are set before it."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(re.sub(r"<[\w ]+>", "X", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                words.append(word)
                continue
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if redirected := [place for place, each in enumerate(words) if each in (">", ">>")]:
                words = words[: redirected[0]]
            if words:
                yield words
            words = []


def _check_one(words: Sequence[str], partly: bool) -> None:
    command, *rest = words
    if command in PLAIN:
        _check_files(command, rest)
    elif command not in CHECKS:
        raise WrongCommandError(f"tests/docs/checked.py does not know {command}; teach it, or use another command")
    else:
        CHECKS[command](rest, partly)


def _check_files(command: str, rest: Sequence[str]) -> None:
    for word in rest:
        if command in ("cat", "cp") and word.startswith("docs/") and not (ROOT / word).exists():
            raise WrongCommandError(f"there is no {word}")


def _parse(parser: argparse.ArgumentParser, rest: Sequence[str], partly: bool) -> argparse.Namespace | None:
    """Parse as the command would; None where only arguments are missing and that is allowed."""

    def complain(message: str) -> None:
        raise WrongCommandError(message)

    for each in _with_subparsers(parser):
        each.error = complain  # type: ignore[assignment, method-assign]
        each.allow_abbrev = False  # --out must not pass for --output
    try:
        return parser.parse_args(list(rest))
    except WrongCommandError as error:
        if not partly or "required" not in str(error):
            raise
        known = {flag for each in _with_subparsers(parser) for flag in each._option_string_actions}
        unknown = {word for word in rest if word.startswith("-")} - known
        if unknown:
            raise WrongCommandError(f"there is no {', '.join(sorted(unknown))}") from None
        return None
    except SystemExit:  # --help, --version
        return None


def _with_subparsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in dict.fromkeys(action.choices.values()):
                yield from _with_subparsers(child)


def _check_birdcache(rest: Sequence[str], partly: bool) -> None:
    _parse(build_parser(), rest, partly)


def _check_dvc(rest: Sequence[str], partly: bool) -> None:
    parsed = _parse(get_main_parser(), rest, partly)
    if parsed is None:
        return
    if rest[0] == "repro" or rest[:2] == ["exp", "run"]:
        for target in parsed.targets or ():
            _check_target(target)
    for setting in getattr(parsed, "set_param", None) or ():
        _check_key(setting.partition("=")[0].lstrip("+"))


def _check_target(target: str) -> None:
    """A stage, a pipeline's file, or a stage of one: train@base-0, optional/dvc.yaml, optional/dvc.yaml:export."""
    file, _, stage = target.partition(":") if ":" in target or "/" in target else ("dvc.yaml", "", target)
    if not (ROOT / file).is_file() or Path(file).name != "dvc.yaml":
        raise WrongCommandError(f"{target}: {file} is no pipeline's file")
    stages = YAML(typ="safe", pure=True).load((ROOT / file).read_text())["stages"]
    if stage and stage.partition("@")[0] not in stages:
        raise WrongCommandError(f"{target}: {file} has no such stage")


@cache
def _keys() -> dict[str, Any]:
    """The shipped params.yaml with complete recipes, also as overrides of members."""
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    raw["train"] = {name: completed(name, raw["train"]) for name in raw["train"]}
    for member in raw["members"].values():
        member["override"] = raw["train"][member["recipe"]]
    return raw


def _check_key(key: str) -> None:
    node: Any = _keys()
    for step in key.split("."):
        if not isinstance(node, dict) or step not in node:
            raise WrongCommandError(f"params.yaml has no key {key}")
        node = node[step]


def _check_python(rest: Sequence[str], partly: bool) -> None:
    if rest[:1] == ["-c"]:
        compile(rest[1], "python -c", "exec")
    elif rest[:1] == ["-m"]:
        _check_module(rest[1], rest[2:])
    else:
        raise WrongCommandError("only python -m MODULE and python -c CODE are known here")


def _check_module(module: str, rest: Sequence[str]) -> None:
    if module.split(".")[0] not in OF_THE_PROJECT:
        if importlib.util.find_spec(module) is None:
            raise WrongCommandError(f"{module} is not installed")
        return
    path = ROOT / module.replace(".", "/")
    file = next((each for each in (path.with_suffix(".py"), path / "__main__.py") if each.is_file()), None)
    if file is None:
        raise WrongCommandError(f"there is no module {module}")
    code = file.read_text()
    if "from benchmarks.timing import" in code:  # which holds the arguments of all benchmarks
        code += (ROOT / "benchmarks/timing.py").read_text()
    for word in rest:
        if word.startswith("--") and f'"{word.partition("=")[0]}"' not in code:
            raise WrongCommandError(f"{module} has no {word}")


def _check_make(rest: Sequence[str], partly: bool) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    unknown = [word for word in rest if "=" not in word and word not in targets]
    if unknown:
        raise WrongCommandError(f"the Makefile has no target {', '.join(unknown)}")


def _check_taskset(rest: Sequence[str], partly: bool) -> None:
    _check_one(rest[2:], partly)  # taskset -c CPUS COMMAND


def _check_uv(rest: Sequence[str], partly: bool) -> None:
    """`uv sync` with extras of pyproject.toml, `uv run` with a command that we know, `uv pip` with files of ours."""
    extras = [rest[place + 1] for place, word in enumerate(rest) if word == "--extra"]
    _check_pip([*rest, f"[{','.join(extras)}]"] if extras else rest, partly)
    if rest[0] == "run":
        words = [word for word in rest[1:] if word not in ("--no-sync", "--extra", *extras)]
        _check_one(words, partly)
    elif rest[0] == "pip":
        named = [value for option, value in pairwise(rest) if option == "--constraints"]
        _check_files("cat", [f"docs/../{name}" for name in named])
    elif rest[0] not in ("sync", "lock", "venv"):
        raise WrongCommandError(f"uv {rest[0]} is not known here")


def _check_docker(rest: Sequence[str], partly: bool) -> None:
    """Files, targets and arguments of `docker build` are those of the Dockerfile."""
    text = (ROOT / ".ci/Dockerfile").read_text()
    for option, value in pairwise(rest):
        wanted = {"--target": f" AS {value}\n", "--build-arg": f"ARG {value.partition('=')[0]}="}.get(option, "")
        if wanted not in text or (option == "-f" and not (ROOT / value).is_file()):
            raise WrongCommandError(f"the Dockerfile has no {value}")


def _check_srun(rest: Sequence[str], partly: bool) -> None:
    _check_one(rest, partly)  # srun COMMAND, on each node


def _check_torchrun(rest: Sequence[str], partly: bool) -> None:
    place = list(rest).index("-m")
    _check_module(rest[place + 1], rest[place + 2 :])


def _check_dask(rest: Sequence[str], partly: bool) -> None:
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    known = {"scheduler": scheduler, "worker": worker}[rest[0]]
    flags = {flag for parameter in known.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in rest[1:] if word.startswith("--") and word not in flags]
    if unknown:
        raise WrongCommandError(f"dask {rest[0]} has no {', '.join(unknown)}")


def _check_pip(rest: Sequence[str], partly: bool) -> None:
    known = tomllib.loads(Path(ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(rest)):
        unknown = set(extras.split(",")) - set(known)
        if unknown:
            raise WrongCommandError(f"pyproject.toml has no extra {', '.join(sorted(unknown))}")


CHECKS: dict[str, Callable[[Sequence[str], bool], None]] = {
    "birdcache": _check_birdcache,
    "dask": _check_dask,
    "docker": _check_docker,
    "dvc": _check_dvc,
    "make": _check_make,
    "pip": _check_pip,
    "python": _check_python,
    "srun": _check_srun,
    "taskset": _check_taskset,
    "torchrun": _check_torchrun,
    "uv": _check_uv,
}
