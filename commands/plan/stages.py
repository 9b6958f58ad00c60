"""The stages that `dvc repro` would run: dvc.lock compared with params.yaml, code and files.

DVC compares; nothing is run, written or checked out. Only the output of stage `code` is computed here, to trace an edit
to the stages whose digests change.
"""

import hashlib
import json
import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import PipelineStage

from birdcache.code import FOLDER, as_file, stage_digests
from birdcache.errors import CommandError
from birdcache.params import load as parameters
from commands.plan.reasons import Extent, Reason, key_changes
from pipeline.builder.teacher import FOLDER as TEACHERS
from pipeline.builder.teacher import network_text
from train.paths import CHECKED

State = Literal["runs", "may run", "up to date"]
PIPELINE = "dvc.yaml"  # others, such as optional/dvc.yaml, only run when named
Code = Mapping[str, dict[str, str]]  # file of stage `code` -> what it will hold
OUTPUTS = {"deleted": "missing output", "modified": "changed output", "not in cache": "lost output"}


@dataclass(frozen=True)
class StagePlan:
    """Plan for one stage."""

    stage: str
    state: State  # may run: only if its inputs from the stages `after` change
    reasons: tuple[Reason, ...] = ()  # changes, for runs
    after: tuple[str, ...] = ()  # for may run: the stages before it that are not up to date


def plan_stages() -> list[StagePlan]:
    """Plan every stage of dvc.yaml, in the order of `dvc repro`; a CommandError if DVC cannot read this folder."""
    if not Path(PIPELINE).is_file():
        raise CommandError("dvc.yaml: no such file; run this in a checkout of birdcache, or `git checkout dvc.yaml`")
    try:
        with _quietly(), Repo(Path.cwd()) as repo:
            return list(_plan_all(repo))
    except DvcException as error:
        raise CommandError(f"DVC cannot read this project: {error}; see `dvc status`") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence DVC's progress bars, log and deprecation warnings."""
    logger = logging.getLogger("dvc")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)


def _plan_all(repo: Any) -> Iterator[StagePlan]:
    graph = get_active_graph(repo.index.graph)
    code = {(FOLDER / f"{name}.json").as_posix(): files for name, files in stage_digests(Path(repo.root_dir)).items()}
    plans: dict[str, StagePlan] = {}
    _look_once(list(graph))
    for stage in plan_repro(graph):
        if isinstance(stage, PipelineStage) and stage.path_in_repo == PIPELINE:
            before = [each for each in graph.successors(stage) if isinstance(each, PipelineStage)]
            unsettled = [each for each in before if plans[each.addressing].state != "up to date"]
            # what stage `code` will write is known before it runs, and what stage `check` writes never changes
            moving = [each for each in unsettled if not (_writes(each, FOLDER) or _writes(each, CHECKED))]
            reasons = tuple(_reasons(stage, moving, code))
            after = () if reasons else tuple(each.addressing for each in moving)
            state: State = "runs" if reasons else "may run" if after else "up to date"
            plans[stage.addressing] = StagePlan(stage.addressing, state, reasons, after)
            yield plans[stage.addressing]


def _look_once(stages: Sequence[Any]) -> None:
    """Let DVC hash each path and read each file of parameters once, however many stages depend on it."""
    hashes: dict[str, Any] = {}
    keys, values = defaultdict[str, set[str]](set), dict[str, dict[str, Any]]()

    def hash_of(path: str, get_hash: Callable[[], Any]) -> Any:
        if path not in hashes:
            hashes[path] = get_hash()
        return hashes[path]

    def values_of(dep: Any) -> dict[str, Any]:
        path = dep.fs_path
        if path not in values:
            values[path] = ParamsDependency(dep.stage, path, sorted(keys[path]), dep.repo).read_params()
        return {key: values[path][key] for key in dep.params if key in values[path]}

    for each in (each for stage in stages for each in (*stage.deps, *stage.outs)):
        if isinstance(each, ParamsDependency):
            keys[each.fs_path].update(each.params)
            each.read_params = partial(values_of, each)
        else:
            each.get_hash = partial(hash_of, each.fs_path, each.get_hash)


def _writes(stage: Any, path: Path) -> bool:
    return any(Path(out.def_path) == path for out in stage.outs)


def _reasons(stage: Any, moving: Sequence[Any], code: Code) -> Iterator[Reason]:
    """Changes, except in what the stages `moving` write, which is only known after these have run."""
    if not any(each.hash_info for each in (*stage.deps, *stage.outs)):
        yield Reason("never ran", stage.addressing)
        return
    if stage.cmd_changed:
        old = stage.dvcfile.lockfile_contents["stages"][stage.name]["cmd"]
        yield Reason("command", stage.addressing, old, stage.cmd)
    if stage.always_changed or stage.is_callback:
        yield Reason("always", stage.addressing)
    if _writes(stage, FOLDER):
        yield from _edit_reasons(stage, code)
    else:
        for dep in [] if stage.frozen else stage.deps:
            yield from _dependency_reasons(dep, moving, code)
    for out in stage.outs:
        for status in out.status().values():
            if not (_writes(stage, FOLDER) and status == "modified"):
                yield Reason(OUTPUTS[status] if out.hash_info else "new output", out.def_path)


def _edit_reasons(stage: Any, code: Code) -> Iterator[Reason]:
    """Files whose digests an edit changes, or the note that only comments changed."""
    if any(not dep.hash_info or dep.changed_checksum() for dep in stage.deps):
        named = {file for name, files in code.items() for file in _changed(_read_digests(Path(name)), files)}
        yield from [Reason("code", file) for file in sorted(named)] or [Reason("comments", stage.addressing)]


def _dependency_reasons(dep: Any, moving: Sequence[Any], code: Code) -> Iterator[Reason]:
    if isinstance(dep, ParamsDependency):
        yield from _params_reasons(dep)
    elif dep.def_path in code:
        yield from _code_reasons(dep, code[dep.def_path])
    elif Path(dep.def_path).parent == TEACHERS and dep.hash_info:  # a network of a view, as stage `check` will find it
        view = parameters.load().views.get(Path(dep.def_path).stem)
        if view and dep.hash_info.value != _md5(network_text(view).encode()):
            yield Reason("new input", getattr(view, "file", dep.def_path))
    elif not (_is_written_by(dep, moving) or (Path(dep.def_path) == CHECKED and dep.hash_info)):
        yield from _input_reasons(dep)


def _code_reasons(dep: Any, files: dict[str, str]) -> Iterator[Reason]:
    """Changed files behind a stage."""
    if not dep.hash_info:
        yield Reason("new input", dep.def_path)
    elif dep.hash_info.value != _md5(as_file(files)):
        kept = dep.repo.cache.local.oid_to_path(dep.hash_info.value)
        known = [path for path in (Path(dep.fs_path), Path(kept)) if path.is_file()]
        before = next((path for path in known if _md5(path.read_bytes()) == dep.hash_info.value), None)
        changed = _changed(_read_digests(before), files) if before else []
        yield from (Reason("code", name) for name in changed or [dep.def_path])


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _read_digests(path: Path) -> dict[str, str]:
    """Digests of files as written by stage `code`; empty if there are none."""
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _params_reasons(dep: Any) -> Iterator[Reason]:
    old, new = dep.hash_info.value or {}, dep.read_params()
    for key in dep.params:
        if key in old and key in new:
            yield from key_changes(key, old[key], new[key])
        else:
            yield Reason("added key" if key in new else "removed key", key, old.get(key), new.get(key))


def _is_written_by(dep: Any, stages: Sequence[Any]) -> bool:
    outs = [out.fs_path for stage in stages for out in stage.outs]
    return any(dep.fs.isin_or_eq(dep.fs_path, out) or dep.fs.isin(out, dep.fs_path) for out in outs)


def _input_reasons(dep: Any) -> Iterator[Reason]:
    name = dep.def_path
    if not dep.exists:
        yield Reason("missing input", name)
    elif not dep.hash_info:
        yield Reason("new input", name)
    elif dep.changed_checksum():
        old, new = (Extent(meta.size, meta.nfiles) for meta in (dep.meta, dep.get_meta()))
        yield Reason("folder" if dep.isdir() else "file", name, old, new)
