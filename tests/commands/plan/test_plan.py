"""`birdcache plan` on the tiny project: what runs, why, and what decoding costs, without changing a file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from upath import UPath

from birdcache import cli
from birdcache.audio.read import BLOCK_SAMPLES
from birdcache.params import load as parameters
from commands.plan import audio as plan_audio
from commands.plan import command as plan_command
from commands.plan import decoding
from commands.plan.command import decoding_lines, stage_lines, time_text
from commands.plan.decoding import Decoding, Rate, measured_rate
from commands.plan.reasons import Reason, few, key_changes, lines, size_text
from commands.plan.stages import StagePlan
from pipeline import recordings
from pipeline.dataset.metadata import read_metadata
from pipeline.spectrograms import open_builder
from pipeline.synthetic.ogg import with_serial
from tests.conftest import TinyProject
from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code, dvc

pytestmark = pytest.mark.slow

Plan = Callable[[], tuple[dict[str, Any], str]]
Change = Callable[[str, Any], None]
MEL_BYTES = 32 * 2  # of a frame: mel bins x float16


@pytest.fixture(scope="module")
def finished(tiny_project: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished tiny project with code and a dvc.lock that says so. Tests must not change it; copy it first."""
    root = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(tiny_project.root, root)
    copy_of_the_code(root)
    repository(root)
    subprocess.run([sys.executable, "-m", "birdcache.code"], cwd=root, check=True)
    dvc(root, "commit", "-f", "dvc.yaml")
    return root


def repository(root: Path) -> None:
    """Make the folder a git repository with a commit, which DVC needs."""
    named = ["-c", "user.name=tiny", "-c", "user.email=tiny@example.org"]
    for command in (["init", "-q"], [*named, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *command], cwd=root, check=True)


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project; the current directory."""
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("BIRDCACHE_POOL", raising=False)
    return root


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which nothing ever ran; the current directory."""
    root = tmp_path / "fresh"
    tiny.write_data(root / "chorus")
    tiny.write_params(root / "params.yaml", tiny.tiny_params("chorus"))
    copy_of_the_code(root)
    repository(root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("BIRDCACHE_POOL", raising=False)
    return root


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A function that plans the current directory: the facts, and what the terminal shows of them."""
    facts: dict[str, Any] = {}

    def stages_shown(stages: list[StagePlan]) -> Iterator[str]:
        facts["stages"] = [{**asdict(each), "why": lines(each.reasons)} for each in stages]
        return stage_lines(stages)

    def decoding_shown(decoding: Decoding) -> Iterator[str]:
        facts["decoding"] = {**asdict(decoding), "fits": decoding.fits}
        return decoding_lines(decoding)

    monkeypatch.setattr(plan_command, "stage_lines", stages_shown)
    monkeypatch.setattr(plan_command, "decoding_lines", decoding_shown)

    def run() -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        facts["decoding"] = None
        cli.main(["plan"])
        shown = capsys.readouterr()
        assert shown.err == ""
        return json.loads(json.dumps(facts)), shown.out  # lists instead of tuples

    return run


@pytest.fixture
def change() -> Change:
    """A function that sets one key of params.yaml."""

    def set_key(key: str, value: Any) -> None:
        path = Path("params.yaml")
        raw = YAML(typ="safe", pure=True).load(path.read_text())
        *steps, last = key.split(".")
        node = raw
        for step in steps:
            node = node[step]
        node[last] = value
        tiny.write_params(path, raw)

    return set_key


def states(facts: dict[str, Any]) -> dict[str, str]:
    """States of those stages that are not up to date."""
    return {each["stage"]: each["state"] for each in facts["stages"] if each["state"] != "up to date"}


def why(facts: dict[str, Any], stage: str) -> list[str]:
    (found,) = (each["why"] for each in facts["stages"] if each["stage"] == stage)
    return list(found)


def costs(facts: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["stage"], each["store"]): each for each in facts["decoding"]["stores"]}


def decoded(facts: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {name: cost["to_decode"] for name, cost in costs(facts).items()}


def add_recording(name: str, source: str = "midton/XC1.ogg") -> Path:
    """Put a recording of new content into the data set."""
    added = Path("chorus/train_audio") / name
    added.write_bytes((Path("chorus/train_audio") / source).read_bytes())
    renew(added)
    with Path("chorus/train.csv").open("a") as table:
        table.write(f'{added.parent.name},"[]",new author,4,{name}\n')
    return added


def renew(path: Path) -> None:
    """Give an Ogg file other content of the same sound."""
    path.write_bytes(with_serial(path.read_bytes(), 99))


def append_line(path: str, line: str = "CHANGED = True") -> None:
    Path(path).write_text(f"{Path(path).read_text()}{line}\n")


def test_nothing_to_do_is_said_in_one_line(project: Path, plan: Plan) -> None:
    facts, shown = plan()
    assert shown == "nothing to run: all 16 stages are up to date\n"
    assert states(facts) == {}
    assert facts["decoding"] is None


def test_changed_key_is_told_with_both_values_and_decodes_that_view_only(
    project: Path, plan: Plan, change: Change
) -> None:
    change("views.mel.hop", 200)
    facts, shown = plan()
    runs = {"check", "spectrograms@mel", "member@base"}
    may_run = {"train@base-0", "train@base-1", "predict", "submit", "evaluate", "report"}
    may_run |= {"member@pcen", "train@pcen-0", "train@pcen-1"}  # DVC cannot tell that it does not look at this view
    assert states(facts) == dict.fromkeys(runs, "runs") | dict.fromkeys(may_run, "may run")
    assert why(facts, "spectrograms@mel") == why(facts, "member@base") == ["views.mel.hop: 256 -> 200"]
    assert "after member@base" in shown
    audio, soundscapes = pd.read_csv("data/tables/audio.csv"), pd.read_csv("data/tables/soundscapes.csv")
    for store, table in (("recordings", audio), ("soundscapes", soundscapes)):
        cost = costs(facts)["spectrograms@mel", store]
        frames = np.ceil(table["duration_s"] * tiny.RATE_HZ / 200).sum()
        assert cost["to_decode"] == cost["listed"] == len(table)
        assert cost["hours"] == pytest.approx(table["duration_s"].sum() / 3600)
        assert cost["gigabytes"] == pytest.approx(frames * MEL_BYTES / 1e9)
        assert cost["minutes"] > 0
    assert {stage for stage, _ in costs(facts)} == {"spectrograms@mel"}


def test_key_flipped_back_decodes_nothing(project: Path, plan: Plan, change: Change) -> None:
    change("views.mel.hop", 200)
    dvc(project, "repro", "-s", "spectrograms@mel")
    assert "spectrograms@mel" not in states(plan()[0])
    change("views.mel.hop", 256)
    facts, shown = plan()
    assert states(facts)["spectrograms@mel"] == "runs"
    assert why(facts, "spectrograms@mel") == ["views.mel.hop: 200 -> 256"]
    assert set(decoded(facts).values()) == {0}
    assert "spectrograms@mel: nothing to decode: all 18 recordings and 1 soundscape are in the pool\n" in shown


def test_files_of_the_same_names_in_another_root_are_decoded_and_none_that_are_back(
    project: Path, plan: Plan, change: Change
) -> None:
    shutil.copytree("chorus", "other")
    for path in Path("other").rglob("*.ogg"):
        renew(path)
    for path in Path("other").rglob("*.*"):
        os.utime(path, (1, 1))  # as downloaded years ago
    change("data.root", "other")
    facts, shown = plan()
    assert {store: number for (stage, store), number in decoded(facts).items() if stage == "spectrograms@mel"} == {
        "recordings": 18,
        "soundscapes": 1,
    }
    assert "18 recordings new or changed: " in shown
    change("data.root", "chorus")
    assert plan()[1] == "nothing to run: all 16 stages are up to date\n"


def test_added_recording_is_named_and_alone_decoded(project: Path, plan: Plan) -> None:
    add_recording("lowton/XC99.ogg")
    facts, shown = plan()
    assert states(facts)["recordings"] == "runs"
    assert why(facts, "recordings")[0].startswith("chorus changed: 22 files, ")
    assert " -> 23 files, " in why(facts, "recordings")[0]
    assert states(facts)["spectrograms@mel"] == states(facts)["spectrograms@pcen"] == "may run"
    assert "1 recording new or changed: lowton/XC99.ogg" in shown
    for view in ("mel", "pcen"):
        cost = costs(facts)[f"spectrograms@{view}", "recordings"]
        assert (cost["to_decode"], cost["listed"]) == (1, 19)
        assert cost["hours"] == pytest.approx(2.0 / 3600)
        assert cost["gigabytes"] >= 2.0 * tiny.RATE_HZ / 256 * MEL_BYTES / 1e9
        assert decoded(facts)[f"spectrograms@{view}", "soundscapes"] == 0


def test_recording_with_the_content_of_another_is_not_decoded(project: Path, plan: Plan) -> None:
    twin = add_recording("lowton/XC99.ogg")
    shutil.copy("chorus/train_audio/midton/XC1.ogg", twin)
    facts, _ = plan()
    assert set(decoded(facts).values()) == {0}
    assert costs(facts)["spectrograms@mel", "recordings"]["listed"] == 18


def test_rewritten_removed_and_broken_recordings_are_seen(project: Path, plan: Plan) -> None:
    shutil.copyfile("chorus/train_audio/midton/XC3.ogg", "chorus/train_audio/midton/XC2.ogg")
    renew(Path("chorus/train_audio/midton/XC2.ogg"))
    Path("chorus/train_audio/higton/XC5.ogg").unlink()
    add_recording("lowton/XC99.ogg").write_bytes(b"no audio")
    facts, shown = plan()
    assert "1 recording new or changed: midton/XC2.ogg" in shown
    assert "1 recording gone: higton/XC5.ogg" in shown
    cost = costs(facts)["spectrograms@mel", "recordings"]
    assert (cost["to_decode"], cost["listed"]) == (1, 17)


def test_what_the_last_run_left_out_is_not_new_each_time(project: Path, plan: Plan, change: Change) -> None:
    twin = Path("more/a/twin.ogg")
    twin.parent.mkdir(parents=True)
    twin.write_bytes(with_serial(Path("chorus/train_audio/midton/XC1.ogg").read_bytes(), 77))
    tiny.write_audio(Path("more/a/new.ogg"), tiny.song(300, 2, np.random.default_rng(5)))
    Path("more/a/bad.ogg").write_bytes(b"no audio")
    tiny.write_audio(Path("more/a/short.ogg"), tiny.song(300, 0.2, np.random.default_rng(6)))
    change("data.sources", {"more": {"layout": "folders", "root": "more"}})
    facts, shown = plan()
    assert "2 recordings new or changed: more/a/new.ogg, more/a/twin.ogg" in shown, "bytes alone do not tell the twin"
    change("data.max_refused_share", 0.5)
    recordings.main()
    facts, shown = plan()
    assert "judging by names and times of files: no changes" in shown
    assert decoded(facts)["spectrograms@mel", "recordings"] == 1, "new.ogg, which is in the table by now"
    change("data.shortest_s", 0.1)
    assert "1 recording new or changed: more/a/short.ogg" in plan()[1]
    Path("chorus/train_audio/midton/XC1.ogg").unlink()
    facts, shown = plan()
    assert "2 recordings new or changed: more/a/short.ogg, more/a/twin.ogg" in shown, "its twin takes its place"
    assert "1 recording gone: midton/XC1.ogg" in shown


def test_recordings_that_a_changed_limit_leaves_out_are_not_counted(project: Path, plan: Plan, change: Change) -> None:
    change("data.shortest_s", 2.1)
    facts, _ = plan()
    assert why(facts, "recordings") == ["data.shortest_s: 0.5 -> 2.1"]
    assert costs(facts)["spectrograms@mel", "recordings"]["listed"] == 12  # 1.5 and 2.0 s are too short


def test_files_without_an_end_are_not_counted_once_they_are_refused(project: Path, plan: Plan, change: Change) -> None:
    told = json.loads(Path("reports/data/summary.json").read_text())
    told["no_end"], told["soundscapes"]["no_end"] = ["midton/XC0.ogg", "lowton/XC1.ogg"], ["dawn"]
    Path("reports/data/summary.json").write_text(json.dumps(told))
    change("data.no_end", "refuse")
    facts, _ = plan()
    assert costs(facts)["spectrograms@mel", "recordings"]["listed"] == 16
    assert costs(facts)["spectrograms@mel", "soundscapes"]["listed"] == 0


def test_changed_label_decodes_nothing(project: Path, plan: Plan) -> None:
    table = Path("chorus/train.csv")
    table.write_text(table.read_text().replace(",4,midton/XC0", ",1,midton/XC0"))
    facts, shown = plan()
    (reason,) = why(facts, "recordings")
    assert re.fullmatch(r"chorus changed: 22 files, \d+ kB, with other contents", reason)
    assert set(decoded(facts).values()) == {0}
    assert "judging by names and times of files: no changes" in shown
    assert "spectrograms@pcen: nothing to decode: all 18 recordings and 1 soundscape are in the pool" in shown


def test_changed_code_is_named_and_decodes_nothing(project: Path, plan: Plan) -> None:
    append_line("pipeline/folds.py")
    append_line("pipeline/builder/encode.py")
    facts, _ = plan()
    assert why(facts, "code") == ["code: pipeline/builder/encode.py, pipeline/folds.py changed"]
    assert why(facts, "folds") == ["code: pipeline/folds.py changed"]
    for view in ("mel", "pcen"):
        assert why(facts, f"spectrograms@{view}") == ["code: pipeline/builder/encode.py changed"]
    assert set(decoded(facts).values()) == {0}
    assert "recordings" not in states(facts)


def test_a_comment_runs_stage_code_alone(project: Path, plan: Plan) -> None:
    for file in (
        "cache/store.py",
        "pipeline/folds.py",
        "train/fit.py",
        "birdcache/files.py",
        "commands/project/doctor.py",
    ):
        append_line(file, "# a comment")
    facts, shown = plan()
    assert states(facts) == {"code": "runs"}
    assert "no other stage runs for it" in shown


def test_code_that_is_changed_back_runs_nothing(project: Path, plan: Plan) -> None:
    path = Path("pipeline/folds.py")
    before = path.read_text()
    append_line("pipeline/folds.py")
    subprocess.run([sys.executable, "-m", "birdcache.code"], check=True)
    assert why(plan()[0], "folds") == ["code: pipeline/folds.py changed"], "though data/code holds the new digest"
    path.write_text(before)
    assert "folds" not in states(plan()[0])


def test_missing_output_is_named(project: Path, plan: Plan) -> None:
    shutil.rmtree("reports/folds")
    shutil.rmtree("data/cache/pcen.zarr")
    facts, shown = plan()
    assert why(facts, "folds") == ["missing output: reports/folds"]
    assert why(facts, "spectrograms@pcen") == ["missing output: data/cache/pcen.zarr"]
    assert states(facts)["folds"] == states(facts)["spectrograms@pcen"] == "runs"
    assert set(decoded(facts).values()) == {0}
    assert states(facts)["member@pcen"] == "may run", "its store is missing, but will perhaps be what it was"
    assert "may run: only if its inputs change" in shown


def test_changed_command_is_told_with_both_lines(project: Path, plan: Plan) -> None:
    definition = Path("dvc.yaml")
    definition.write_text(definition.read_text().replace("-m pipeline.folds", "-m  pipeline.folds"))
    assert why(plan()[0], "folds") == ["command: python -m pipeline.folds -> python -m  pipeline.folds"]


def test_added_member_never_ran_and_is_told_as_one_key(project: Path, plan: Plan, change: Change) -> None:
    members = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())["members"]
    change("members.third", members["base"])
    change("members.base.override", {**members["base"]["override"], "epochs": 2})
    facts, _ = plan()
    assert why(facts, "member@third") == why(facts, "train@third-0") == ["never run before"]
    assert why(facts, "member@base") == ["members.base.override.epochs: added, 2"]
    assert why(facts, "predict") == ["members.base.override.epochs: added, 2", "members.third: added"]
    assert facts["decoding"] is None


def test_project_without_dvc_lock_decodes_everything(fresh: Path, plan: Plan) -> None:
    facts, shown = plan()
    assert "stage recordings has not run yet; counted from the data set's tables" in shown
    assert "since its last run" not in shown
    assert set(states(facts).values()) == {"runs"}
    assert [why(facts, each["stage"]) for each in facts["stages"]] == [["never run before"]] * 16
    order = [each["stage"] for each in facts["stages"]]
    assert order.index("recordings") < order.index("spectrograms@mel") < order.index("member@base")
    assert order.index("member@base") < order.index("train@base-1") < order.index("predict")
    seconds = {"recordings": 3 * sum(1.5 + number / 2 for number in range(6)), "soundscapes": 20}
    for (_, store), cost in costs(facts).items():
        assert cost["to_decode"] == cost["listed"] == {"recordings": 18, "soundscapes": 1}[store]
        assert cost["hours"] == pytest.approx(seconds[store] / 3600)
    assert not Path(".birdcache").exists()
    assert not Path("dvc.lock").exists()


@pytest.mark.parametrize("sample_files", [64, 7])
def test_audio_of_a_remote_data_set_is_counted_like_local_audio(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, sample_files: int
) -> None:
    monkeypatch.setattr(plan_audio, "SAMPLE_FILES", sample_files)
    remote = UPath("memory://plan/chorus")
    for path in Path("chorus").rglob("*.*"):
        (remote / path.relative_to("chorus").as_posix()).write_bytes(path.read_bytes())
    data = parameters.load().data
    here = plan_audio.expected_audio(data, read_metadata(data))
    away = data.model_copy(update={"root": str(remote)})
    there = plan_audio.expected_audio(away, read_metadata(away))
    for store in ("recordings", "soundscapes"):
        assert there[store].unknown.files == here[store].unknown.files
        assert there[store].unknown.duration_s == pytest.approx(here[store].unknown.duration_s)
        assert {source.sha256 for source in there[store].sources} == {source.sha256 for source in here[store].sources}
    assert sum(len(audio.sources) + audio.unknown.files for audio in there.values()) == 19


def test_new_and_gone_files_of_a_remote_data_set_are_seen(project: Path) -> None:
    remote, data = UPath("memory://plan/finished"), parameters.load().data
    for path in Path("chorus").rglob("*.*"):
        (remote / path.relative_to("chorus").as_posix()).write_bytes(path.read_bytes())
    for name in ("audio", "recordings", "soundscapes"):
        table = Path(f"data/tables/{name}.csv")
        table.write_text(table.read_text().replace(",chorus/", f",{remote}/"))  # as if decoded from there
        os.utime(table, (time.time() + 60,) * 2)
    away = data.model_copy(update={"root": str(remote)})
    audio = plan_audio.expected_audio(away, read_metadata(away))["recordings"]
    assert (len(audio.sources), audio.new, audio.gone) == (18, (), ())
    (remote / "train_audio" / "midton" / "XC1.ogg").unlink()
    os.utime("data/tables/recordings.csv", (1, 1))
    audio = plan_audio.expected_audio(away, read_metadata(away))["recordings"]
    assert (len(audio.sources), len(audio.new), audio.gone) == (17, 17, ("midton/XC1.ogg",))


def test_hours_of_many_new_files_are_estimated_from_the_headers_of_some(
    fresh: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_audio, "SAMPLE_FILES", 7)
    facts, shown = plan()
    cost = costs(facts)["spectrograms@mel", "recordings"]
    assert cost["to_decode"] == cost["listed"] == 18
    assert cost["hours"] == pytest.approx(3 * sum(1.5 + number / 2 for number in range(6)) / 3600, rel=0.1)
    frames = cost["hours"] * 3600 * tiny.RATE_HZ / 256
    assert cost["gigabytes"] == pytest.approx(frames * MEL_BYTES / 1e9, rel=0.01)
    assert cost["minutes"] > 0
    assert "hours of 18 recordings are estimated by the headers of 7;" in shown


def test_demo_that_is_not_made_yet_is_said_to_be_unknown(fresh: Path, plan: Plan, change: Change) -> None:
    change("demo", YAML(typ="safe", pure=True).load((tiny.ROOT / "params.yaml").read_text())["demo"])
    change("data.root", "data/demo/dawn")
    facts, shown = plan()
    assert states(facts)["demo@dawn"] == "runs"
    assert facts["decoding"]["stores"] == []
    assert "stage demo@dawn makes data/demo/dawn first; the cost of decoding is known after it" in shown


def test_store_that_does_not_fit_is_warned_of(project: Path, plan: Plan, change: Change, monkeypatch: Any) -> None:
    change("views.mel.n_mels", 64)
    facts, shown = plan()
    assert facts["decoding"]["fits"]
    assert "WARNING" not in shown
    monkeypatch.setattr(decoding, "free_bytes", lambda pool: 2**28)
    facts, shown = plan()
    assert not facts["decoding"]["fits"]
    assert "WARNING: not enough disk space: only 268 MB are free on the disk of the pool .birdcache/pool" in shown


@pytest.mark.parametrize("workers", [1, 2])
def test_minutes_are_hours_by_rate_and_a_time_for_each_file_shared_by_workers(
    project: Path, plan: Plan, change: Change, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    change("views.mel.hop", 200)
    change("machine.workers", workers)
    monkeypatch.setattr(decoding, "measured_rate", lambda stage, *_: Rate(stage, 100.0, 3, 10.0))
    facts, _ = plan()
    recordings = costs(facts)["spectrograms@mel", "recordings"]
    by_file = 0.0018 / 60 / workers
    wanted = recordings["hours"] * 60 / 100 / workers + by_file * recordings["to_decode"]
    assert recordings["minutes"] == pytest.approx(wanted)
    soundscape = costs(facts)["spectrograms@mel", "soundscapes"]
    assert soundscape["minutes"] == pytest.approx(soundscape["hours"] * 60 / 100 + by_file), "one part, one worker"


def test_rate_is_measured_on_the_beginnings_of_a_few_recordings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MEASURED_S", 1.0)
    block_s = BLOCK_SAMPLES / tiny.RATE_HZ
    builder = open_builder("mel", parameters.load())
    dawn, broken = Path("chorus/test_soundscapes/dawn.ogg"), Path("broken.ogg")
    broken.write_bytes(b"no audio")
    rate = measured_rate("spectrograms@mel", builder, [dawn, broken])
    assert rate is not None
    assert rate.recordings == 1
    assert 1.0 <= rate.seconds <= 1.0 + block_s < 20
    assert rate.times_realtime > 1
    assert measured_rate("spectrograms@mel", builder, [broken]) is None
    assert measured_rate("spectrograms@mel", builder, []) is None


def test_the_terminal_shows_the_facts(project: Path, plan: Plan, change: Change) -> None:
    change("views.mel.hop", 200)
    add_recording("lowton/XC99.ogg")
    append_line("train/score/metrics.py")
    facts, shown = plan()
    for each in facts["stages"]:
        at = shown.index(f"{each['state']:<10}  {each['stage']}")
        for text in [*each["why"], *([few(each["after"])] if each["after"] else [])]:
            at = shown.index(text, at)
    for cost in facts["decoding"]["stores"]:
        if cost["to_decode"]:
            line = f"{cost['to_decode']} of {cost['listed']}", f"{cost['hours']:.2f}", time_text(cost["minutes"])
            size = size_text(cost["gigabytes"] * 1e9)
            assert any(all(text in row for text in (*line, size)) for row in shown.splitlines()), cost
    for note in facts["decoding"]["notes"]:
        assert note in shown
    for rate in facts["decoding"]["rates"]:
        assert f"{rate['times_realtime']:,.0f} x realtime for each of 1 worker," in shown


def test_planning_changes_no_file(project: Path, plan: Plan, change: Change) -> None:
    def listing() -> dict[str, tuple[int, str]]:
        files = (path for path in Path().rglob("*") if not path.is_relative_to(".dvc/tmp"))
        return {
            str(path): (
                path.stat().st_mtime_ns,
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            )
            for path in files
        }

    change("views.mel.hop", 200)
    change("folds.seed", 2)
    add_recording("lowton/XC99.ogg")
    append_line("train/score/metrics.py")
    shutil.rmtree("data/cache/pcen.zarr")
    shutil.rmtree("reports/folds")
    before = listing()
    plan()
    assert listing() == before


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("params.yaml", None, "params.yaml: no such file; run `birdcache init --demo`"),
        ("params.yaml", "views: {}\n", "params.yaml: "),
        ("dvc.yaml", None, "dvc.yaml: no such file; run this in a checkout of birdcache"),
        ("dvc.yaml", "stages: [\n", "DVC cannot read this project: "),
        ("dvc.lock", "{", "DVC cannot read this project: "),
        ("chorus/train.csv", "nothing\n", "chorus/train.csv: missing columns: primary_label, filename"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    fresh: Path, capsys: pytest.CaptureFixture[str], file: str, content: str | None, told: str
) -> None:
    Path(file).unlink(missing_ok=True)
    if content is not None:
        Path(file).write_text(content)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["plan"])
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_folder_without_dvc_is_refused(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(".dvc")
    with pytest.raises(SystemExit, match="1"):
        cli.main(["plan"])
    assert "DVC cannot read this project" in capsys.readouterr().err


def test_keys_are_compared_leaf_by_leaf() -> None:
    old = {"a": {"b": 1, "c": [1, 2], "gone": True}, "section": {"d": 1}, "same": None}
    new = {"a": {"b": 2, "c": [1, 3], "come": 0.5}, "same": None, "other": {}}
    assert lines(list(key_changes("top", old, new))) == [
        "top.a.b: 1 -> 2",
        "top.a.c: [1, 2] -> [1, 3]",
        "top.a.come: added, 0.5",
        "top.other: added",
        "top.a.gone: removed, was true",
        "top.section: removed",
    ]
    assert lines(list(key_changes("top", {"x": "one"}, {"x": None}))) == ["top.x: one -> null"]
    assert list(key_changes("top", old, old)) == []


def test_many_files_of_one_kind_take_one_line() -> None:
    reasons = [Reason("code", f"cache/{number}.py") for number in range(5)] + [
        Reason("missing input", "data/folds.csv")
    ]
    assert lines(reasons) == [
        "code: cache/0.py, cache/1.py, cache/2.py and 2 more changed",
        "missing input: data/folds.csv",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (26_822, "26.8 kB"),
        (999_700, "1.00 MB"),
        (53.5e6, "53.5 MB"),
        (104.2e6, "104 MB"),
        (16.04e9, "16.0 GB"),
        (2.5e12, "2,500 GB"),
    ],
)
def test_sizes_have_three_digits(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("minutes", "text"), [(0, "0 s"), (0.001, "1 s"), (0.5, "30 s"), (1, "1.0 min"), (89.9, "89.9 min"), (150, "2.5 h")]
)
def test_times_have_a_unit_that_fits(minutes: float, text: str) -> None:
    assert time_text(minutes) == text


def test_project_may_lie_below_a_folder_that_the_pool_shares(
    project: Path, plan: Plan, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool elsewhere that is empty or not there yet: everything is decoded again, and nothing is made there."""
    shared = project.parent / "shared/pool"
    monkeypatch.setenv("BIRDCACHE_POOL", os.fspath(shared))
    append_line("pipeline/builder/encode.py")
    facts, _ = plan()
    assert decoded(facts)["spectrograms@mel", "recordings"] == 18
    assert facts["decoding"]["pool"] == os.fspath(shared)
    assert facts["decoding"]["free_gigabytes"] == pytest.approx(shutil.disk_usage(project).free / 1e9, rel=0.01)
    assert not shared.exists()
