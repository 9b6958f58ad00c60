"""Raw bytes at the server: what is malformed or foreign is told so, and what is slow or half blocks nobody else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from flask import Flask

from birdcache.serve import connections
from tests.birdcache.serve.conftest import MOST, Served, answer_of, running

LARGE = 20 * 2**20  # more than waitress keeps by default for a client that does not read


@pytest.fixture
def app() -> Flask:
    """One that answers much, or says how much it was sent."""
    app = Flask(__name__)
    app.add_url_rule("/", "page", lambda: "page")
    app.add_url_rule("/large", "large", lambda: bytes(LARGE))

    @app.post("/length")
    def length() -> str:
        from flask import request

        return str(len(request.get_data()))

    return app


@pytest.fixture
def quick(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that waits for nobody long."""
    monkeypatch.setattr(connections, "QUIET_S", 1)
    with running(app) as started:
        yield started


def post(host: str = "localhost", length: object = 5, more: str = "") -> bytes:
    return f"POST /length HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize(("host", "length", "status"), [("evil.example", MOST - 1, 421), ("localhost", MOST, 413)])
def test_what_is_refused_is_refused_before_its_body(
    served: Served, host: str, length: int, status: int, more: str
) -> None:
    found, words = served.ask(post(host, length, more))
    assert found == status
    assert ("evil.example" if status == 421 else "--max-mb") in words


def test_a_refusal_has_the_headers_of_all_answers(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(post("<script>alert(1)</script>"))
        head = connection.makefile("rb").read().decode()
    assert "Content-Security-Policy: default-src 'none'" in head
    assert "X-Content-Type-Options: nosniff" in head
    assert "Content-Type: text/plain" in head


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (
            b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            400,
            "Invalid header",
        ),
        (b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x, identity\r\n\r\n", 501, "not supported"),
        (post(more="Content-Length: 5\r\n") + b"12345", 400, "Content-Length is invalid"),
        (post(more="Content-Length: 6\r\n") + b"12345", 400, "Content-Length is invalid"),
        (post(length=-5), 400, "Content-Length is invalid"),
        (post(length="+5"), 400, "Content-Length is invalid"),
        (post(length="0x5"), 400, "Content-Length is invalid"),
        (post(length="5 5"), 400, "Content-Length is invalid"),
        (post(length=10**30), 413, "--max-mb"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 421, "evil.example"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n evil.example\r\n\r\n", 421, "evil.example"),
        (b"GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400, "Bare CR or LF"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""),
        (b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", 421, "no proxy"),
    ],
)
def test_malformed_requests_are_refused_in_words(served: Served, sent: bytes, status: int, words: str) -> None:
    found, body = served.ask(sent + b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert found == status
    assert words in body
    assert "page" not in body.replace("own page", ""), "nothing behind it is answered"


def test_whole_requests_are_answered(served: Served) -> None:
    assert served.ask(post(more="Connection: close\r\n") + b"12345") == (200, "5")
    assert served.ask(b"\r\n\r\nGET / HTTP/1.0\r\nHost: localhost\r\n\r\n") == (200, "page")
    with served.connect() as connection:
        for part in (post(length=4, more="Expect: 100-continue\r\nConnection: close\r\n"), b"ab", b"cd"):
            connection.sendall(part)
            time.sleep(0.05)
        assert b"\r\n\r\n4" in connection.makefile("rb").read()


HALF = {
    "headers": b"GET / HTTP/1.1\r\nHost: loc",
    "body": post(length=1000) + b"only this",
}


@pytest.mark.parametrize("half", [b"", *HALF.values()], ids=["silent", *HALF])
def test_what_comes_no_further_ends(quick: Served, half: bytes) -> None:
    began = time.monotonic()
    assert quick.ask(half) == (0, "")
    assert 0.8 < time.monotonic() - began < 6


def test_a_slow_body_that_goes_on_is_taken(quick: Served) -> None:
    with quick.connect() as connection:
        connection.sendall(post(length=100_000, more="Connection: close\r\n"))
        for _ in range(5):
            connection.sendall(bytes(20_000))
            time.sleep(0.1)
        assert answer_of(connection) == (200, "100000")


@contextmanager
def deaf_clients(served: Served) -> Iterator[list[socket.socket]]:
    """Two clients; each asks for much, twice, and takes nothing."""
    with ExitStack() as stack:
        deaf = [stack.enter_context(socket.socket()) for _ in range(2)]
        for connection in deaf:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(10)
            connection.connect(served.callers.place)
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        time.sleep(0.3)
        yield deaf


def test_clients_that_take_no_answer_hold_no_thread(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "THREADS", 2)
    with running(app) as served, deaf_clients(served):
        assert served.get() == (200, "page")


@pytest.mark.slow
def test_clients_that_take_no_answer_are_left(quick: Served) -> None:
    with deaf_clients(quick) as deaf:
        time.sleep(2.5)
        assert all(is_ended(connection) for connection in deaf)


def is_ended(connection: socket.socket) -> bool:
    """True if no more comes than what the system has kept."""
    kept = 0
    try:
        while part := connection.recv(2**20):
            kept += len(part)
    except ConnectionResetError:
        return True
    return kept < LARGE


def test_a_full_disk_is_told_while_a_recording_comes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("waitress.buffers.TempfileBasedBuffer.__init__", full)
    with running(app_that_answers(), most_bytes=2**22) as large:
        status, words = large.ask(post(length=2**21), bytes(2**21))
    assert (status, "no space is left for recordings" in words) == (507, True)
    assert served.get()[0] == 200


def app_that_answers() -> Flask:
    return Flask(__name__)
