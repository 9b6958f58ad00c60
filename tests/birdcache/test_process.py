"""What was started ends with what started it: stages with DVC, workers with their stage; and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from birdcache.errors import report_problems
from birdcache.process import is_alive
from tests.fixtures.tiny import ROOT

PYTHON = f"{sys.executable} -S"
WAIT = "open('child', 'w').write(str(os.getpid())); time.sleep(60)"
CHILD = "import os, sys, time; sys.path.insert(0, {root!r}); from birdcache import process; {mortal}; " + WAIT
STARTER = "import subprocess, sys; subprocess.call(sys.argv[1:])"


class Family:
    """A starter and the child that it started, in processes of their own."""

    def __init__(self, root: Path, mortal: str, *shell: str, **variables: str) -> None:
        child = CHILD.format(root=str(ROOT), mortal=mortal)
        command = [*PYTHON.split(), "-c", STARTER, *shell] + ([] if shell else [*PYTHON.split(), "-c", child])
        environment = {key: value for key, value in os.environ.items() if key != "DVC_STAGE"} | variables
        (root / "child.py").write_text(child)
        self._starter = subprocess.Popen(command, cwd=root, env=environment)
        wait_for(lambda: (root / "child").is_file() and (root / "child").read_text() != "")
        self.child = int((root / "child").read_text())

    def kill_starter(self) -> None:
        self._starter.kill()
        self._starter.wait()

    def child_lives(self) -> bool:
        """Whether it runs; what has ended and waits for its parent to notice does not."""
        try:
            return Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def end(self) -> None:
        self.kill_starter()
        if self.child_lives():
            os.kill(self.child, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    """A function that starts a starter and a child, which says how mortal it is."""
    started: list[Family] = []

    def start(mortal: str, *shell: str, **variables: str) -> Family:
        started.append(Family(tmp_path, mortal, *shell, **variables))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.parametrize(
    "mortal",
    [
        "process.exit_with_parent(os.getppid())",
        "sys.platform = 'darwin'; process.exit_with_parent(os.getppid())",
        "process.exit_with_dvc()",
        "sys.platform = 'darwin'; process.exit_with_dvc()",
    ],
    ids=["at once", "by looking", "stage", "stage, by looking"],
)
def test_child_ends_when_its_parent_is_killed(family: Callable[..., Family], mortal: str) -> None:
    started = family(mortal, DVC_STAGE="spectrograms@mel")
    assert started.child_lives()
    started.kill_starter()
    assert wait_for(lambda: not started.child_lives())


def test_stage_that_is_run_by_hand_outlives_its_shell(family: Callable[..., Family]) -> None:
    """And so the test above does tell something."""
    started = family("process.exit_with_dvc()")
    started.kill_starter()
    time.sleep(1.5)
    assert started.child_lives()


def test_stage_ends_with_dvc_though_the_shell_between_them_lives(family: Callable[..., Family]) -> None:
    shell = ("sh", "-c", f"{PYTHON} child.py; true")
    started = family("process.exit_with_dvc()", *shell, DVC_STAGE="spectrograms@mel")
    started.kill_starter()
    assert wait_for(lambda: not started.child_lives())


def test_stage_is_asked_to_end_so_that_it_can_save(family: Callable[..., Family], tmp_path: Path) -> None:
    handler = "import signal; signal.signal(15, lambda *_: (open('saved', 'w').close(), os._exit(1)))"
    started = family(f"{handler}; process.exit_with_dvc()", DVC_STAGE="train@base-0")
    started.kill_starter()
    assert wait_for((tmp_path / "saved").is_file)


def test_child_whose_parent_has_ended_meanwhile_ends_at_once() -> None:
    script = CHILD.format(root=str(ROOT), mortal="process.exit_with_parent(2**22 + 1)")
    done = subprocess.run([*PYTHON.split(), "-c", script], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL


def test_stage_that_a_system_has_adopted_ends_at_once() -> None:
    mortal = "process._name_and_parent = lambda process: ('systemd', 1); process.exit_with_dvc()"
    script = CHILD.format(root=str(ROOT), mortal=mortal)
    environment = {**os.environ, "DVC_STAGE": "folds"}
    done = subprocess.run([*PYTHON.split(), "-c", script], check=False, timeout=30, env=environment)
    assert done.returncode == -signal.SIGTERM


def test_full_disk_is_told_with_the_file_and_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fill() -> None:
        raise OSError(28, "No space left on device", "reports/metrics.json")

    with pytest.raises(SystemExit, match="1"):
        report_problems(fill)
    told = capsys.readouterr().err
    assert told == (
        "error: reports/metrics.json: No space left on device; free some space, then run the same command again\n"
    )


@pytest.mark.parametrize(
    ("kind", "said", "told"),
    [
        (
            torch.OutOfMemoryError,
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB. See documentation",
            "error: CUDA out of memory. Tried to allocate 2.00 GiB; lower batch_size and raise optimiser.accumulate, ",
        ),
        (
            torch.AcceleratorError,
            "CUDA error: unspecified\nCompile with",
            "error: CUDA error: unspecified; run the same ",
        ),
    ],
)
def test_what_a_gpu_refuses_is_told_with_a_way_out_and_without_a_traceback(
    capsys: pytest.CaptureFixture[str], kind: type[RuntimeError], said: str, told: str
) -> None:
    def compute() -> None:
        raise kind(said)

    with pytest.raises(SystemExit, match="1"):
        report_problems(compute)
    assert capsys.readouterr().err.startswith(told)


def test_other_errors_of_the_system_keep_their_traceback() -> None:
    def look() -> None:
        Path("nowhere/at/all").read_text()

    with pytest.raises(FileNotFoundError):
        report_problems(look)


def test_ended_process_is_not_alive_though_its_parent_has_not_noticed() -> None:
    assert is_alive(os.getpid())
    assert not is_alive(2**22 + 1)
    with subprocess.Popen([*PYTHON.split(), "-c", ""]) as child:
        assert wait_for(lambda: not is_alive(child.pid))
        assert child.returncode is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(("limits", "told"), [("-n 64", "only 64 files may be open"), ("-Sn 64", ""), ("-n 300", "")])
def test_too_few_open_files_are_told_before_the_work_and_raised_where_that_is_allowed(limits: str, told: str) -> None:
    program = "from birdcache.errors import run_stage; run_stage(lambda: print('worked'))"
    command = f'ulimit {limits}; exec "{sys.executable}" -c "{program}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == ((1, "") if told else (0, "worked\n"))
    assert told in done.stderr
    assert not told or "`ulimit -n 1024`" in done.stderr
