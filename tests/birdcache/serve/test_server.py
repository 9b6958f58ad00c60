"""The command itself: what it says, where it listens, that it ends and leaves nothing, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

import pytest
from werkzeug.http import parse_options_header

from birdcache import cli
from tests.birdcache.serve.conftest import sound
from tests.conftest import TinyProject
from tests.fixtures.tiny import ROOT

# a shell's background jobs are started without Ctrl-C
START = "import signal; from birdcache import cli; signal.signal(signal.SIGINT, signal.default_int_handler); cli.main()"

# an analysis without an end: it tells of its progress, or keeps silent
ENDLESS = """
import time
from birdcache.serve import jobs
def endless(predictor, path, embed, room, advance):
    (room / "scratch").write_bytes(b"x")
    while True:
        time.sleep(0.1)
        {step}
jobs.score_all_the_same = endless
"""
STEPPING, STUCK = ENDLESS.format(step="advance(0)") + START, ENDLESS.format(step="pass") + START


@pytest.fixture
def port() -> int:
    """One that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def serve(port: int, code: str = START) -> list[str]:
    return [sys.executable, "-c", code, "serve", "models", "--port", str(port)]


def environment(scratch: Path) -> dict[str, str]:
    """That of the command: temporary files go to `scratch`."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "PYTHONWARNINGS": "default"}


@pytest.fixture
def served(
    request: pytest.FixtureRequest, tiny_project: TinyProject, port: int, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """The command with trained models."""
    root, variables, pipe = tiny_project.root, environment(tmp_path), subprocess.PIPE
    command = serve(port, getattr(request, "param", START))
    process = subprocess.Popen(command, cwd=root, env=variables, text=True, stdout=pipe, stderr=pipe)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_answers_and_ends(
    served: subprocess.Popen[str], port: int, tmp_path: Path, how: signal.Signals
) -> None:
    assert served.stdout is not None
    said = [served.stdout.readline() for _ in range(3)]
    assert f"open http://127.0.0.1:{port}/ in a browser; Ctrl-C ends it\n" in said
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert re.search(r"<summary>\d+ classes</summary>", answer.read().decode())
    assert list(tmp_path.glob("birdcache-serve-*"))
    served.send_signal(how)
    _, complaints = served.communicate(timeout=60)
    of_torch = "torch/_dynamo"  # it says goodbye in a callback of its own, which a signal may meet
    assert all(of_torch in trace for trace in complaints.split("Traceback")[1:])
    assert not list(tmp_path.glob("birdcache-serve-*"))


def answered(port: int, path: str, body: bytes | None = None) -> tuple[bytes, Message]:
    """What the server answers, with its headers."""
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, kind if body else {})
    with urllib.request.urlopen(request) as answer:
        return answer.read(), answer.headers


def handed_in(port: int, name: str, content: bytes) -> str:
    """Address of a recording that waits."""
    head = f'--edge\r\nContent-Disposition: form-data; name="recording"; filename="{name}"\r\n\r\n'
    answer, _ = answered(port, "/recordings", head.encode() + content + b"\r\n--edge--\r\n")
    return f"/recordings/{json.loads(answer)['key']}"


def wait_until(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("is not so after a minute")


def state(port: int, address: str) -> str:
    return str(json.loads(answered(port, address)[0])["state"])


def ready(served: subprocess.Popen[str]) -> None:
    """Read what it says until it answers."""
    assert served.stdout is not None
    while "Ctrl-C ends it" not in served.stdout.readline():
        assert served.poll() is None


@pytest.mark.parametrize(
    ("served", "signals"),
    [(STEPPING, [signal.SIGINT]), (STEPPING, [signal.SIGTERM]), (STUCK, [signal.SIGINT, signal.SIGINT])],
    indirect=["served"],
    ids=["Ctrl-C", "SIGTERM", "Ctrl-C twice"],
)
def test_it_ends_within_an_analysis_and_leaves_nothing(
    served: subprocess.Popen[str], port: int, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    ready(served)
    address = handed_in(port, "dawn.ogg", sound(5))
    wait_until(lambda: state(port, address) == "running" and list(tmp_path.glob("birdcache-serve-*/scratch")))
    for each in signals:
        served.send_signal(each)
        time.sleep(1)
    said, complaints = served.communicate(timeout=20)
    assert said == "stopping\n"
    assert "Traceback" not in complaints
    assert not list(tmp_path.glob("birdcache-serve-*"))


def test_a_name_in_any_script_names_its_downloads(served: subprocess.Popen[str], port: int) -> None:
    ready(served)
    address = handed_in(port, "鳥 Zaunkönig.ogg", sound(6))
    wait_until(lambda: state(port, address) == "done")
    for kind, suffix in (("raven", ".selections.txt"), ("audacity", ".labels.txt")):
        _, headers = answered(port, f"{address}/detections/{kind}")
        told = parse_options_header(headers["Content-Disposition"])[1]
        assert told["filename"] == "鳥 Zaunkönig.ogg" + suffix


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: holds no trained model"),
        (["models", "--max-mb", "0"], "--max-mb 0: must be at least 1"),
        (["nowhere", "--port", "70000"], "--port 70000: must be from 0 (any that is free) to 65535"),
        (["nowhere", "--host", "no.such.invalid"], "--host 'no.such.invalid': leads to no address"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str],
    message: str,
    tiny_project: TinyProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tiny_project.root)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["serve", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(port: int, tiny_project: TinyProject, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = subprocess.run(
            serve(port), cwd=tiny_project.root, env=environment(tmp_path), text=True, capture_output=True, check=False
        )
    message = f"--host 127.0.0.1 --port {port}: cannot be used (Address already in use); another program uses it"
    assert done.returncode == 1
    assert message in done.stderr
    assert not list(tmp_path.glob("birdcache-serve-*"))
