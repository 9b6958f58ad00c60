"""A server around a predictor whose scores are known: everything else, decoding too, is real."""

from __future__ import annotations

import functools
import io
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from flask import Flask, Response
from flask.testing import FlaskClient
from waitress import wasyncore

from birdcache.arrays import Floats32
from birdcache.audio.decoder import decoder
from birdcache.predict.outputs import Wanted
from birdcache.predict.predictor import Advance, Facts, FileScores
from birdcache.serve.app import create_app
from birdcache.serve.callers import Callers, listening_socket
from birdcache.serve.connections import server_of
from birdcache.serve.jobs import JobQueue
from birdcache.storage import AnyPath

RATE_HZ = 16_000
LABELS = ("robin", "wren", "=owl<script>")
ABOVE = (0.5, 0.5, 0.5)
WINDOW_S = 5.0
MOST = 2**18  # the client keeps larger forms in a file that it does not close


class FakePredictor:
    """Finds in every file: robin in the first window, wren in the second, and so on, turn by turn."""

    facts = Facts("digest", ["a fake model"], LABELS, LABELS, WINDOW_S, 20.0, 8000.0, {"wren": "Winter Wren"})

    def score(self, path: AnyPath, embed: bool, scratch: Path, advance: Advance, silence: bool = False) -> FileScores:
        info = decoder().mixed(path, decoder().info(path))
        windows = max(1, round(info.duration_s / WINDOW_S))
        members_PWK = np.full((1, windows, len(LABELS)), 0.1, np.float32)
        members_PWK[0, np.arange(windows), np.arange(windows) % len(LABELS)] = 0.9
        advance(1.0)
        return FileScores(info.duration_s, members_PWK, notes=info.notes)

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        return np.asarray(members_PWK[0])

    def called_above(self) -> Floats32:
        return np.array(ABOVE, np.float32)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    """The queue of recordings to analyse, with a scratch folder of its own."""
    (tmp_path / "room").mkdir()
    predictor = FakePredictor()
    queue = JobQueue(predictor, Wanted(predictor.facts, predictor.called_above()), tmp_path / "room")
    yield queue
    queue.close()


@functools.cache
def sound(seconds: float = 20.0) -> bytes:
    """A rising tone as an Ogg file."""
    time_S = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    buffer = io.BytesIO()
    tone_S = 0.3 * np.sin(2 * np.pi * (500 + 100 * time_S) * time_S)
    soundfile.write(buffer, tone_S, RATE_HZ, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


class Buffered(FlaskClient):
    """A client that closes each answer once it is read."""

    def open(self, *arguments: Any, **keywords: Any) -> Any:
        return super().open(*arguments, buffered=True, **keywords)


@pytest.fixture
def app(queue: JobQueue) -> Flask:
    """The web application, which takes forms up to MOST bytes."""
    return create_app(queue, MOST)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application, without a server between them."""
    return Buffered(app, Response)


def hand_in(client: FlaskClient, content: bytes, name: str = "dawn.ogg", **headers: str) -> Any:
    data = {"recording": (io.BytesIO(content), name)}
    return client.post("/recordings", data=data, headers=headers)


def finished(client: FlaskClient, key: str) -> Any:
    for _ in range(600):
        answer = client.get(f"/recordings/{key}").get_json()
        if answer["state"] not in ("waiting", "running"):
            return answer
        time.sleep(0.1)
    raise AssertionError("is not finished after a minute")


@pytest.fixture
def key(client: FlaskClient) -> str:
    """A recording of 20 s that is analysed."""
    key = hand_in(client, sound()).get_json()["key"]
    assert finished(client, key)["state"] == "done"
    return str(key)


@dataclass
class Served:
    """A server on loopback, for raw bytes."""

    callers: Callers

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.callers.place[1]), timeout=10)

    def ask(self, *sent: bytes) -> tuple[int, str]:
        """Status and body of the answer to some bytes; all of it is read until the server closes."""
        with self.connect() as connection:
            connection.sendall(b"".join(sent))
            return answer_of(connection)

    def get(self, path: str = "/", host: str = "localhost", more: str = "", method: str = "GET") -> tuple[int, str]:
        return self.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode())


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Status and body; (0, "") if the connection ends without an answer."""
    with connection.makefile("rb") as file:
        whole = file.read()
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body.decode()


@contextmanager
def running(app: Flask, token: str = "", most_bytes: int = MOST) -> Iterator[Served]:
    """The real server around an application, until the test ends."""
    with closing(listening_socket("127.0.0.1", 0)) as listening:
        callers = Callers(listening.getsockname(), token)
        server = server_of(app, listening, callers, most_bytes)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield Served(callers)
        finally:
            server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
            thread.join()
            server.task_dispatcher.set_thread_count(0)


@pytest.fixture
def served(app: Flask) -> Iterator[Served]:
    """The real server, for this machine alone."""
    with running(app) as started:
        yield started
