"""`birdcache serve`: it says where it is, answers this machine alone, ends and leaves nothing."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from birdcache.errors import CommandError
from birdcache.page.build import SITE
from birdcache.page.server import listening
from tests.birdcache.page.conftest import known_bundle
from tests.fixtures.tiny import ROOT

# a shell's background jobs are started without Ctrl-C; onnxruntime-web is not needed
START = """
import signal
from birdcache import cli
from birdcache.page import build
build.runtime_files = lambda *_: {}
signal.signal(signal.SIGINT, signal.default_int_handler)
cli.main()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_answers_and_ends(tmp_path: Path, how: signal.Signals) -> None:
    bundle = known_bundle(tmp_path / "x.bundle")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command, pipe = [sys.executable, "-c", START, "serve", str(bundle), "--port", "0"], subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("open http://127.0.0.1:"), line
            assert line.endswith("/ in a browser; Ctrl-C ends it\n")
            place = http.client.HTTPConnection(line.split("/")[2], timeout=20)
            place.request("GET", "/bundle.json")
            assert place.getresponse().read().startswith(b'{"version":1')
            assert list(tmp_path.glob("birdcache-page-*"))
            process.send_signal(how)
            assert process.communicate(timeout=60) == ("", "")
        finally:
            process.kill()
    assert process.returncode == 0
    assert not list(tmp_path.glob("birdcache-page-*"))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server of the page's own files."""
    with listening(SITE, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def answer(port: int, path: str = "/", host: str = "localhost", method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"Host": host})
    found = connection.getresponse()
    found.read()
    connection.close()
    return found


def test_files_come_with_their_type_and_a_strict_policy(port: int) -> None:
    kinds = {"/": "text/html; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"}
    for path, kind in kinds.items():
        found = answer(port, path)
        assert (found.status, found.headers["Content-Type"]) == (200, kind)
        policy = found.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert found.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert found.headers["X-Content-Type-Options"] == "nosniff"


def test_only_the_thread_that_runs_the_graph_may_compile(port: int) -> None:
    policies = {path.name: answer(port, f"/{path.name}").headers["Content-Security-Policy"] for path in SITE.iterdir()}
    assert [name for name, policy in policies.items() if "unsafe" in policy] == ["worker.js"]
    assert "script-src 'self' 'wasm-unsafe-eval'; " in policies["worker.js"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "[::1]:80"])
def test_own_names_are_answered_on_any_port(port: int, host: str) -> None:
    assert answer(port, host=host).status == answer(port, host=host, method="HEAD").status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "0.0.0.0"])
def test_other_names_are_refused(port: int, host: str) -> None:
    for method in ("GET", "HEAD"):
        found = answer(port, host=host, method=method)
        assert (found.status, found.reason) == (421, f"open http://127.0.0.1:{port}/")


@pytest.mark.parametrize(("method", "path"), [("GET", "/no"), ("GET", "/../build.py"), ("GET", "/%2e%2e/build.py")])
def test_nothing_else_is_given(port: int, method: str, path: str) -> None:
    assert answer(port, path, method=method).status == 404
    assert answer(port, "/", method="POST").status == 501


def test_a_port_that_cannot_be_used_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"--port {number}: cannot be used \(Address already in use\); choose"):
            listening(SITE, number)
    with pytest.raises(CommandError, match=r"--port 70000: cannot be used \(must be from 0 to 65535\)"):
        listening(SITE, 70_000)
