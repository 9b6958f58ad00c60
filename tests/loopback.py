"""A Dask cluster and an S3 server on loopback: processes of their own, killed when the test ends, however it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tiny import ROOT

LIMIT_S = 300.0
S3_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()  # ends when the test does
server.stop()
"""
NOTE_TASKS = """
from distributed.diagnostics.plugin import WorkerPlugin

class NoteTasks(WorkerPlugin):
    def transition(self, key, start, finish, **_):
        if finish == "memory":
            print("finished", key, flush=True)

async def dask_setup(worker):
    await worker.plugin_add(NoteTasks())
"""


@dataclass(frozen=True)
class Loopback:
    """What listens where, and how to start Python beside it."""

    scheduler: str  # tcp://...
    s3: str  # http://...
    environment: dict[str, str]
    worker_logs: tuple[Path, ...]

    def tasks(self) -> list[Counter[str]]:
        """How often each worker has run which function so far."""
        logs = [log.read_text() for log in self.worker_logs]
        return [Counter(re.findall(r"^finished (\w+)-", log, re.MULTILINE)) for log in logs]

    def upload(self, folder: Path, prefix: str) -> None:
        """Put a folder's files into a new bucket: `prefix` is `<bucket>/<folder>`."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        objects = {f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}
        for name, data in {prefix.split("/")[0]: b"", **objects}.items():
            header = {"Content-Type": "application/octet-stream"}
            request = urllib.request.Request(f"{self.s3}/{name}", data, header, method="PUT")
            with urllib.request.urlopen(request, timeout=LIMIT_S):
                pass

    def start(self, root: Path, *arguments: object, **variables: str | None) -> subprocess.Popen[str]:
        """Start Python in a project, with some variables of the environment changed or (None) left out."""
        changed = {**self.environment, **variables}
        environment = {name: value for name, value in changed.items() if value is not None}
        command = [sys.executable, *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """Standard output and error of a process, which must end with a status and without a traceback."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == status, out + err
    assert "Traceback" not in err, err
    return out, err


@contextmanager
def loopback(base: Path) -> Iterator[Loopback]:
    """S3 server, scheduler, and two workers of one thread each, which run in another folder than any project."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(base / "none"),
        "AWS_CONFIG_FILE": str(base / "none"),
    }
    environment.pop("BIRDCACHE_POOL", None)
    (base / "note_tasks.py").write_text(NOTE_TASKS)
    (base / "elsewhere").mkdir()
    spec, logs = base / "scheduler.json", tuple(base / f"worker{number}.log" for number in (1, 2))
    quiet = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", spec)
    with ExitStack() as stack:

        def launch(log: Path, *arguments: object) -> subprocess.Popen[str]:
            return stack.enter_context(_running(log, base / "elsewhere", environment, *arguments))

        s3 = launch(base / "s3.log", "-c", S3_SERVER)
        scheduler = launch(
            base / "scheduler.log", "-m", "dask", "scheduler", "--port", 0, *quiet, "--idle-timeout", f"{LIMIT_S}s"
        )
        host, port = _awaited(base / "s3.log", r"^(127\.0\.0\.1) (\d+)$", s3)
        environment["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        worker = ("-m", "dask", "worker", "--nthreads", 1, "--no-nanny", "--preload", base / "note_tasks.py", *quiet)
        for log in logs:
            launch(log, *worker, "--death-timeout", LIMIT_S)
        (address,) = _awaited(spec, r'"address": "(tcp://[\d.:]+)"', scheduler)
        yield Loopback(address, environment["AWS_ENDPOINT_URL"], environment, logs)


@contextmanager
def _running(
    log: Path, folder: Path, environment: dict[str, str], *arguments: object
) -> Iterator[subprocess.Popen[str]]:
    """Python in a process of its own, which is killed in the end; its standard input ends with this process."""
    command = [sys.executable, *map(str, arguments)]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=file, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def _awaited(path: Path, pattern: str, process: subprocess.Popen[str]) -> tuple[str, ...]:
    """Groups of a pattern, as soon as a file that a process writes matches it."""
    deadline, content = time.monotonic() + LIMIT_S, ""
    while time.monotonic() < deadline and process.poll() is None:
        content = path.read_text() if path.exists() else ""
        if match := re.search(pattern, content, re.MULTILINE):
            return match.groups()
        time.sleep(0.05)
    raise TimeoutError(f"{path.name} does not hold {pattern}, but {content}")
