"""Which recordings are kept, and which analyses go on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from birdcache.predict.predictor import Advance, FileScores
from birdcache.serve import jobs as desk_module
from birdcache.serve.jobs import JobQueue
from tests.birdcache.serve.conftest import FakePredictor, finished, hand_in, sound


def test_a_removed_recording_leaves_no_file(client: FlaskClient, queue: JobQueue, key: str) -> None:
    assert client.delete(f"/recordings/{key}").status_code == 204
    assert client.get(f"/recordings/{key}").status_code == 404
    assert list(queue.scratch.iterdir()) == []


def test_the_analysis_of_a_removed_recording_ends(
    client: FlaskClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(predictor: FakePredictor, path: Path, embed: bool, scratch: Path, advance: Advance) -> FileScores:
        while True:
            advance(0.0)
            time.sleep(0.01)

    with monkeypatch.context() as patched:
        patched.setattr(FakePredictor, "score", endless)
        key = hand_in(client, sound(1)).get_json()["key"]
        while client.get(f"/recordings/{key}").get_json()["state"] != "running":
            time.sleep(0.01)
    assert client.delete(f"/recordings/{key}").status_code == 204
    assert finished(client, hand_in(client, sound(1)).get_json()["key"])["state"] == "done"


def test_the_oldest_make_room_for_the_newest(
    client: FlaskClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "MOST_KEPT", 2)
    keys = []
    for _ in range(4):
        keys.append(hand_in(client, sound(1)).get_json()["key"])
        finished(client, keys[-1])
    assert [client.get(f"/recordings/{key}").status_code for key in keys] == [404, 404, 200, 200]
    assert len(list(queue.scratch.iterdir())) == 2


def test_too_many_that_wait_are_told_to_come_again(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, queue: JobQueue
) -> None:
    monkeypatch.setattr(desk_module, "MOST_WAITING", 1)
    go_on = threading.Event()
    score = FakePredictor.score
    monkeypatch.setattr(FakePredictor, "score", lambda *arguments: (go_on.wait(30), score(*arguments))[1])
    quantized = [hand_in(client, sound(1)).status_code for _ in range(3)]
    go_on.set()
    assert quantized == [202, 202, 503]
    assert len(queue.recordings) == 2


def test_closing_removes_everything(queue: JobQueue, client: FlaskClient, key: str) -> None:
    queue.close()
    assert not queue.scratch.exists()
