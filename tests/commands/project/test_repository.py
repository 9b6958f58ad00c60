"""A project without git, as in a ZIP, or without a commit: told before DVC is called, with what helps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from birdcache import cli
from commands.project.repository import git_refusal, git_trouble
from tests.fixtures import tiny
from tests.test_dvc import dvc

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]


@pytest.fixture
def unzipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's params.yaml, dvc.yaml and DVC settings, without git; the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    tiny.write_params(tmp_path / "params.yaml", tiny.tiny_params("chorus"))
    (tmp_path / "dvc.yaml").write_text("stages: {code: {cmd: echo made > out, outs: [out]}}\n")
    (tmp_path / ".dvc").mkdir()
    shutil.copy(tiny.ROOT / ".dvc/config", tmp_path / ".dvc")
    return tmp_path


def test_without_git_all_that_comes_before_dvc_says_what_to_run(
    unzipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "`git init && git add --all && git commit -m start`, or do without git by `dvc config core.no_scm true`"
    for command in (["plan"], ["doctor"]):
        with pytest.raises(SystemExit):
            cli.main(command)
        shown = capsys.readouterr()
        assert told in shown.out + shown.err, command
    raw = tiny.shipped_params()
    tiny.write_params(unzipped / "params.yaml", raw)
    cli.main(["init", "--demo"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(told)


def test_git_with_a_first_commit_helps(unzipped: Path) -> None:
    subprocess.run([*GIT, "init", "-q"], cwd=unzipped, check=True)
    assert str(git_trouble()).endswith("needs: run `git add --all && git commit -m start`")
    subprocess.run([*GIT, "add", "--all"], cwd=unzipped, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "start"], cwd=unzipped, check=True)
    assert git_trouble() is None
    dvc(unzipped, "repro")
    assert (unzipped / "out").read_text() == "made\n"


def test_doing_without_git_helps(unzipped: Path) -> None:
    dvc(unzipped, "config", "core.no_scm", "true")
    assert git_trouble() is None
    dvc(unzipped, "repro")
    assert (unzipped / "out").read_text() == "made\n"


def test_where_git_is_missing_it_is_asked_for(unzipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "needs: install git, then run `git init" in str(git_trouble())
    assert git_refusal() is None


def test_outside_of_a_dvc_project_nothing_is_said_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_trouble() is None
