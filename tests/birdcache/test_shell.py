"""The command in a shell: examples, completion, what -q and -v print, and the statuses of docs/commands.md."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from birdcache import cli
from birdcache.errors import CommandError
from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (each for each in cli.build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(commands.choices)


@pytest.mark.parametrize("name", list(cli.ANYWHERE | cli.IN_CHECKOUT))
def test_help_of_each_command_ends_with_a_call_that_is_right(name: str) -> None:
    example = parsers()[name].format_help().splitlines()[-1]
    assert example.startswith(f"example: birdcache {name}")
    words = shlex.split(example.removeprefix("example: birdcache ").partition(" >>")[0])
    assert cli.build_parser().parse_args(words).command == name
    assert len(words) > 1 or not [each for each in parsers()[name]._actions if each.required], "an example, not a name"


def completed(shell_words: str, folder: Path) -> list[str]:
    """What bash offers for the last of some words, by the script that the command prints."""
    words = shell_words.split(" ")
    (folder / "script.sh").write_text(script("bash"))
    code = f"source script.sh; COMP_WORDS=({shell_words} ''); COMP_CWORD={len(words) - 1}; _shtab_birdcache 2>&1; "
    done = subprocess.run(
        ["bash", "-c", code + "printf '%s\\n' \"${COMPREPLY[@]}\""],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def script(shell: str) -> str:
    command = [sys.executable, "-m", "birdcache.cli", "completion", shell]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_bash_completes_commands_options_and_files(tmp_path: Path) -> None:
    (tmp_path / "rain.ogg").touch()
    assert completed("birdcache p", tmp_path) == ["predict", "page", "plan"]
    assert completed("birdcache predict --o", tmp_path) == ["--out", "--overlap"]
    assert completed("birdcache predict ra", tmp_path) == ["rain.ogg"]
    assert completed("birdcache predict --device c", tmp_path) == ["cpu", "cuda"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_that_they_can_read(shell: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script(shell))
    text = (tmp_path / "script").read_text()
    assert "overlap" in text
    assert "weights" in text
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"no {shell} here: its syntax is not checked")
    subprocess.run([program, "-n", "script"], cwd=tmp_path, check=True)


def test_fish_completes_commands_options_and_files(tmp_path: Path) -> None:
    if (program := shutil.which("fish")) is None:
        pytest.skip("no fish here")
    (tmp_path / "rain.ogg").touch()
    (tmp_path / "script").write_text(script("fish"))

    def offered(words: str) -> list[str]:
        command = [program, "--no-config", "-c", f"source script; complete -C '{words}'"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    assert offered("birdcache p") == ["page", "plan", "predict"]
    assert offered("birdcache predict --o") == ["--out", "--overlap"]
    assert offered("birdcache predict ra") == ["rain.ogg"]
    assert offered("birdcache predict --device c") == ["cpu", "cuda"]


def test_completion_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from birdcache import completion

    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(CommandError, match="pip install shtab"):
        completion.run(argparse.Namespace(shell="bash"))


@pytest.fixture
def call(exported: Exported, tmp_path: Path) -> list[str]:
    """Predict a soundscape and a file that is silent, of which the command warns."""
    dawn = exported.root / "chorus/test_soundscapes/dawn.ogg"
    return ["predict", str(dawn), "--model", str(exported.bundle), "--out", str(tmp_path / "found")]


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "birdcache.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_quiet_leaves_warnings_and_errors(call: list[str], tmp_path: Path) -> None:
    done = ended(*call, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "found/detections.csv").is_file()
    sample = tmp_path / "sample.csv"
    sample.write_text("row_id,owl,lowton\nx_5,0,0\n")
    done = ended(*call, "-q", "--format", "kaggle", "--sample", str(sample))
    assert done.returncode == 0
    assert done.stderr == "warning: 1 submission label scores 0, being unknown: 'owl'\n"


def test_verbose_says_where_an_error_was_met(call: list[str]) -> None:
    call[1] = "none.ogg"
    plain, verbose = ended(*call), ended(*call, "-v")
    assert plain.stderr == "error: none.ogg: no such file or folder\n"
    assert verbose.stderr.startswith(plain.stderr + "Traceback")
    assert "list_files" in verbose.stderr


def test_statuses_are_those_of_the_docs(call: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.ogg").write_text("no audio")
    assert ended(*call).returncode == 0
    assert ended(call[0], str(tmp_path / "bad.ogg"), *call[1:]).returncode == 1
    assert ended("plan", "--never").returncode == 2
    page = (ROOT / "docs/commands.md").read_text()
    assert [f"\n| {status} |" in page for status in (0, 1, 2, 130)] == [True] * 4


def test_ctrl_c_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_the_parser_is_built_fast() -> None:
    """It is built for each call; completion and docs need no library for it."""
    code = (
        "import sys, time; begin = time.process_time(); from birdcache import cli; cli.build_parser(); "
        "print(time.process_time() - begin, 'shtab' in sys.modules, 'pydantic' in sys.modules)"
    )
    took = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, *imported = done.stdout.split()
        assert imported == ["False", "False"]
        took.append(float(seconds))
        time.sleep(0.1)
    assert min(took) < 0.3
