"""A short form of each trial, and that a trial notices when a protection is taken away."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from birdcache.audio import read
from birdcache.audio.formats import ogg_pages
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.samples import SampleCheck
from birdcache.params import load as params
from pipeline.dataset import scan
from tests.fixtures.tiny import ROOT
from tests.torture import bad_among_good, mutated_frames, mutated_ogg, truncated
from tests.torture.bad_among_good import Run
from tests.torture.mutations import KINDS, Mutant
from tests.torture.ogg_files import base_files

pytestmark = pytest.mark.slow


def test_spoiled_ogg_files_crash_nothing_and_pass_only_with_right_checksums() -> None:
    outcome = mutated_ogg.trial(120)
    assert (outcome.tried, outcome.failed, outcome.worst) == (120, 0, "none")
    assert "accepted" in outcome.figure
    assert "damaged" in outcome.figure


def test_spoiled_frames_crash_nothing_and_their_lengths_are_those_of_an_independent_count() -> None:
    outcome = mutated_frames.trial(200)
    assert (outcome.tried, outcome.failed, outcome.worst) == (200, 0, "none")
    assert all(code in outcome.figure for code in ("accepted", "damaged", "truncated"))


def test_good_files_have_the_length_that_is_counted_independently(tmp_path: Path) -> None:
    for base in mutated_frames.base_files().values():
        (tmp_path / "clip").write_bytes(base.content)
        assert read.read_info(tmp_path / "clip").frames in base.lengths(base.content)


def test_spoiled_files_are_the_same_each_time_and_of_every_kind() -> None:
    bases = base_files()
    mutants = [mutated_ogg.nth_mutant(bases, 1, number) for number in range(200)]
    assert mutants[150] == mutated_ogg.nth_mutant(bases, 1, 150)
    assert {kind for each in mutants for kind in each.kind.split("+")} == set(KINDS)
    assert {each.base for each in mutants} == set(bases)
    assert [each.mended for each in mutants] == [False, True] * 100
    assert all(each.content != bases[each.base] for each in mutants)


def flipped() -> Mutant:
    content = bytearray(base_files()["mono.ogg"])
    content[-500] ^= 4
    return Mutant("mono.ogg", "flip", False, bytes(content))


@pytest.fixture
def scanned_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are scanned in this process, where a test may take protections away."""
    monkeypatch.setattr(scan, "decoder", lambda: SimpleNamespace(info=read.read_info, mixed=lambda path, info: info))


@pytest.mark.usefixtures("scanned_here")
def test_trial_notices_that_damage_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = params.load(ROOT / "params.yaml")
    assert mutated_ogg.judge(flipped(), tmp_path / "a.ogg", settings) == ("damaged", "")
    monkeypatch.setattr(ogg_pages, "is_intact", lambda *_: True)
    assert mutated_ogg.judge(flipped(), tmp_path / "a.ogg", settings) == ("damaged", ""), "its length gives it away"
    monkeypatch.setattr(SampleCheck, "finish", lambda self: None)
    assert mutated_ogg.judge(flipped(), tmp_path / "a.ogg", settings)[1] == "accepted with a wrong checksum"


def test_trial_goes_on_behind_a_file_that_kills_the_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    killer = "import os, signal, sys, json\nfor number in range(int(sys.argv[2]), int(sys.argv[3])):\n"
    killer += "    if number in (2, 5): os.kill(os.getpid(), signal.SIGSEGV if number == 2 else signal.SIGALRM)\n"
    killer += "    told = dict(number=number, kind='', mended=False, code='damaged', failure='')\n"
    killer += "    print(json.dumps(told), flush=True)\n"
    (tmp_path / "killer.py").write_text(killer)
    monkeypatch.setattr(
        mutated_ogg, "child_command", lambda *numbers, module: [*mutated_ogg.PYTHON, "killer", *numbers]
    )
    monkeypatch.setattr(mutated_ogg, "ROOT", tmp_path)
    outcome = mutated_ogg.trial(8)
    assert (outcome.tried, outcome.failed, outcome.worst) == (8, 2, "2 : crashed (SIGSEGV)")
    assert outcome.figure == "damaged 6, crashed 1, mended over the deadline 1"


def test_cut_files_are_refused_with_the_right_code() -> None:
    outcome = truncated.trial(tried=12)
    assert outcome.tried > 50
    assert (outcome.failed, outcome.worst) == (0, "none")


@pytest.mark.usefixtures("scanned_here")
def test_trial_notices_that_cut_files_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "probe", lambda file: AudioHeader(32_000, 1, 3600 * 32_000))
    outcome = truncated.trial(tried=4)
    assert outcome.failed > 3
    assert "accepted" in outcome.figure


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a stage in this process, without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.delenv("BIRDCACHE_POOL", raising=False)

    def run(project: Path, module: str, *arguments: str) -> None:
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        importlib.import_module(module).main()

    return run


def test_bad_files_among_good_ones_are_listed_and_leave_no_trace(run_here: Run) -> None:
    outcome = bad_among_good.trial(60, run_here)
    assert (outcome.failed, outcome.worst) == (0, "none")
    assert outcome.figure.startswith("3 bad: ")


def test_trial_notices_a_bad_file_that_gets_through(run_here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bad_among_good.BAD, "empty.ogg", ("empty", lambda seed: bad_among_good.good(seed)))
    outcome = bad_among_good.trial(20, run_here)
    assert outcome.failed == 2
    assert outcome.worst == "data/sounds/bird0/XC0-empty.ogg: not listed, expected empty"
