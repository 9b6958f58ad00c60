"""The server's addresses: what may be handed in and by whom, what comes back, and what is kept."""

from __future__ import annotations

import errno
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from flask.testing import FlaskClient
from werkzeug.http import parse_options_header

from birdcache.annotations.column_reader import read_raven
from birdcache.audio.decoder import decoder
from birdcache.audio.paths import Bounds
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import TrainError
from birdcache.predict.predictor import FileScores
from birdcache.serve.app import rounded
from birdcache.serve.jobs import JobQueue
from birdcache.serve.spectrum import as_bytes
from tests.birdcache.serve.conftest import LABELS, MOST, RATE_HZ, FakePredictor, finished, hand_in, sound


def test_a_recording_comes_back_with_scores_of_its_windows(client: FlaskClient, key: str) -> None:
    answer = client.get(f"/recordings/{key}").get_json()
    assert (answer["name"], answer["duration_s"], answer["window_s"]) == ("dawn.ogg", 20.0, 5.0)
    assert answer["labels"] == list(LABELS)
    assert answer["names"] == ["", "Winter Wren", ""]
    assert np.array(answer["scores"]).argmax(axis=1).tolist() == [0, 1, 2, 0]
    assert answer["above"] == [0.5, 0.5, 0.5]


def test_its_spectrogram_is_a_byte_a_value(client: FlaskClient, key: str) -> None:
    shape = client.get(f"/recordings/{key}").get_json()["spectrogram"]
    assert (shape["frames"], shape["bins"]) == (1251, 128)
    values = np.frombuffer(client.get(f"/recordings/{key}/spectrogram").data, np.uint8)
    values_TM = values.reshape(shape["frames"], shape["bins"])
    assert values_TM.max() == 255
    loudest = values_TM[10:-10].argmax(axis=1)
    assert loudest[-1] > loudest[0] + 20, "the tone rises"
    assert shape["pitch"] == [[hertz, hertz / 16000] for hertz in range(2000, 16000, 2000)]
    tone_hz = 500 + 2 * 100 * np.arange(1251)[10:-10] * 512 / 32000  # of a chirp with phase (500 + 100 t) t
    np.testing.assert_allclose(tone_hz / 16000, (loudest + 0.5) / 128, atol=0.01)


def test_a_long_recording_is_shown_by_its_loudest_frames(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("birdcache.serve.spectrum.MOST_COLUMNS", 100)
    key = hand_in(client, sound(7)).get_json()["key"]
    frames = finished(client, key)["spectrogram"]["frames"]
    assert frames == 88, "groups of five of 438 frames"
    assert len(client.get(f"/recordings/{key}/spectrogram").data) == frames * 128


def test_decibels_become_bytes_between_the_quiet_and_the_loud_ones() -> None:
    values_TM = np.linspace(-100, 0, 1001, dtype=np.float32)[:, None]
    shown = as_bytes(values_TM)[[0, 100, 549, 998, 1000], 0]
    np.testing.assert_array_equal(shown, [0, 0, 128, 255, 255])
    assert not as_bytes(np.full((5, 2), -80, np.float32)).any(), "a silent recording"
    assert set(as_bytes(values_TM[:20])[[0, -1], 0]) == {0, 255}, "a narrow range is spread as well"


def test_sound_comes_back_as_it_was_sent_and_in_pieces(client: FlaskClient, key: str) -> None:
    whole = client.get(f"/recordings/{key}/audio")
    assert whole.data == sound()
    assert whole.mimetype == "audio/ogg"
    piece = client.get(f"/recordings/{key}/audio", headers={"Range": "bytes=100-199"})
    assert (piece.status_code, piece.data) == (206, sound()[100:200])


def test_detections_are_saved_in_each_format(client: FlaskClient, key: str, tmp_path: Path) -> None:
    table = client.get(f"/recordings/{key}/detections/csv")
    assert "attachment" in table.headers["Content-Disposition"]
    assert table.text.splitlines()[0] == "file,start_s,end_s,label,score"
    assert [line.split(",")[1] for line in table.text.splitlines()[1:]] == ["0", "5", "10", "15"]
    (tmp_path / "dawn.txt").write_bytes(client.get(f"/recordings/{key}/detections/raven").data)
    assert len(read_raven(tmp_path / "dawn.txt", Bounds(tmp_path, "inside")).cells) == 4
    assert client.get(f"/recordings/{key}/detections/audacity").text.splitlines()[0].startswith("0.000000\t5.000000\t")
    unknown = client.get(f"/recordings/{key}/detections/pdf")
    assert (unknown.status_code, unknown.get_json()["detail"]) == (
        404,
        "there is no format pdf; choose one of csv, raven, audacity",
    )


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "empty.ogg", "empty"),
        (b"<html>no sound</html>", "page.ogg", "not-audio"),
        (sound()[:-900], "a.ogg", "truncated"),
    ],
)
def test_bad_audio_is_refused_by_the_gate_with_its_hint(
    client: FlaskClient, content: bytes, name: str, code: str
) -> None:
    answer = finished(client, hand_in(client, content, name).get_json()["key"])
    assert (answer["state"], answer["code"]) == ("refused", code)
    assert answer["detail"].startswith(name)
    assert answer["hint"]


def test_one_bad_recording_leaves_the_others(client: FlaskClient, key: str) -> None:
    finished(client, hand_in(client, b"noise").get_json()["key"])
    assert client.get(f"/recordings/{key}").get_json()["state"] == "done"
    assert finished(client, hand_in(client, sound(5)).get_json()["key"])["state"] == "done"


def test_a_fault_of_ours_is_told_with_a_line_to_report_and_printed_whole(
    client: FlaskClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> FileScores:
        raise RuntimeError("odd insides")

    monkeypatch.setattr(FakePredictor, "score", fail)
    answer = finished(client, hand_in(client, sound(1)).get_json()["key"])
    assert answer["code"] == "unexpected"
    line = r"dawn.ogg makes birdcache fail \(RuntimeError: odd insides; test_app.py, line \d+\)"
    assert re.fullmatch(line, answer["detail"])
    assert "report this line" in answer["hint"]
    queue.close()  # waits for what is printed
    printed = capsys.readouterr().err
    assert printed.startswith("dawn.ogg could not be analysed:\nTraceback ")
    assert "RuntimeError: odd insides" in printed


FAULTS = {
    "memory": (MemoryError(), "needs more memory than is free; end other programs"),
    "exit": (SystemExit(3), "makes birdcache fail (SystemExit: 3; "),
    "overflow": (OverflowError("int too large"), "makes birdcache fail (OverflowError: int too large; "),
    "model": (TrainError("m.bundle: gives nan instead of a score"), "m.bundle: gives nan instead of a score"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "no space is left for recordings"),
    "folder": (FileNotFoundError(errno.ENOENT, "No such file", "/tmp/x"), "/tmp/x: cannot be used (No such file)"),
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_whatever_happens_costs_one_recording(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, fault: BaseException, words: str
) -> None:
    def fail(*_: Any) -> FileScores:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(FakePredictor, "score", fail)
        answer = finished(client, hand_in(client, sound(1)).get_json()["key"])
    assert words in f"{answer['detail']}; {answer['hint']}"
    assert finished(client, hand_in(client, sound(1)).get_json()["key"])["state"] == "done"


def test_a_decoder_that_dies_between_two_recordings_costs_none(client: FlaskClient, queue: JobQueue, key: str) -> None:
    queue._worker.submit(lambda: decoder()._process.kill()).result()  # type: ignore[union-attr]
    assert finished(client, hand_in(client, sound(1)).get_json()["key"])["state"] == "done"


def test_a_full_disk_and_a_folder_that_is_gone_are_told(
    client: FlaskClient, queue: JobQueue, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("werkzeug.datastructures.FileStorage.save", full)
        answer = hand_in(client, sound(1))
    assert (answer.status_code, "free some, or set TMPDIR" in answer.get_json()["detail"]) == (507, True)
    shutil.rmtree(queue.scratch)
    answers = [client.get(f"/recordings/{key}/{what}") for what in ("audio", "detections/csv")]
    for answer in (hand_in(client, sound(1)), *answers):
        assert (answer.status_code, "start the server again" in answer.get_json()["detail"]) == (507, True)
    assert client.get(f"/recordings/{key}").get_json()["state"] == "done", "what is in memory is there"
    assert len(queue.recordings) == 1


def test_what_is_no_recording_by_its_name_is_told_with_its_way_out(client: FlaskClient, queue: JobQueue) -> None:
    answer = hand_in(client, sound(1), "._dawn.ogg")
    assert (answer.status_code, "._dawn.ogg is no recording" in answer.get_json()["detail"]) == (415, True)
    assert not queue.recordings
    answer = finished(client, hand_in(client, b"\0\0\0 ftypM4A " * 9, "it's dawn.m4a").get_json()["key"])
    assert answer["hint"] == """convert it first: ffmpeg -i 'it'"'"'s dawn.m4a' 'it'"'"'s dawn.m4a.flac'"""
    key = hand_in(client, sound(1), "really an ogg.m4a").get_json()["key"]
    assert finished(client, key)["state"] == "done", "bytes decide"


def test_what_is_odd_about_a_recording_that_is_used_is_told(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finished(client, hand_in(client, sound(1)).get_json()["key"])["notes"] == []
    key = hand_in(client, b"ID3\4" + bytes(6) + sound(1), "tagged.ogg").get_json()["key"]
    (note,) = finished(client, key)["notes"]
    assert note.startswith("10 bytes before its sound: ")
    assert note.endswith(" are passed over")
    stereo, tone_S = BytesIO(), 0.3 * np.sin(np.arange(RATE_HZ) * 1.5)
    soundfile.write(stereo, np.stack([tone_S, -tone_S], axis=1), RATE_HZ, format="WAV")
    key = hand_in(client, stereo.getvalue(), "stereo.wav").get_json()["key"]
    (note,) = finished(client, key)["notes"]
    assert "cancel each other" in note
    assert np.frombuffer(client.get(f"/recordings/{key}/spectrogram").data, np.uint8).max() == 255, "it is seen"
    score = FakePredictor.score

    def silent(*arguments: Any, silence: bool = False) -> FileScores:
        if not silence:
            raise RejectedAudio("silent", "is silent")
        return score(*arguments)

    monkeypatch.setattr(FakePredictor, "score", silent)
    assert finished(client, hand_in(client, sound(1)).get_json()["key"])["notes"] == ["nothing is to be heard in it"]


def test_an_upload_that_is_too_large_is_refused(client: FlaskClient) -> None:
    answer = hand_in(client, bytes(MOST + 1))
    assert answer.status_code == 413
    assert "start the server with a larger --max-mb" in answer.get_json()["detail"]


def test_a_form_without_a_recording_is_refused(client: FlaskClient) -> None:
    answer = client.post("/recordings", data={"other": "x"})
    assert (answer.status_code, answer.get_json()["state"]) == (400, "refused")
    two = {"recording": [(BytesIO(sound(1)), "a.ogg"), (BytesIO(sound(1)), "b.ogg")]}
    told = client.post("/recordings", data=two).get_json()["detail"]
    assert told == "2 recordings were sent; send one file a request, as form field `recording`", (
        "none is lost in silence"
    )


@pytest.mark.parametrize("path", ["", "/audio", "/spectrogram", "/detections/csv"])
def test_an_unknown_recording_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(f"/recordings/..%2f..%2fetc%2fpasswd{path}").status_code == 404
    assert client.get(f"/recordings/unknown{path}").status_code == 404


@pytest.mark.parametrize("path", ["/audio", "/spectrogram", "/detections/csv"])
def test_a_refused_recording_has_no_result(client: FlaskClient, path: str) -> None:
    key = hand_in(client, b"").get_json()["key"]
    finished(client, key)
    assert client.get(f"/recordings/{key}{path}").status_code == 409


@pytest.mark.parametrize("name", ["../../evil.ogg", "/etc/passwd.ogg", "a\x00b.ogg", "C:\\x\\y.ogg", "..", ".ogg"])
def test_names_of_files_are_never_paths(client: FlaskClient, queue: JobQueue, name: str) -> None:
    hand_in(client, sound(1), name)
    assert all(each.path.parent == queue.scratch for each in queue.recordings.values())
    assert all(path.name.removesuffix(".ogg") in queue.recordings for path in queue.scratch.iterdir())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../evil.ogg", "evil.ogg"),
        ("{outside}/evil.ogg", "evil.ogg"),
        ("鳥 & ü.ogg", "鳥 & ü.ogg"),
        ("..", "recording"),
        ("a" * 300 + ".ogg", "a" * 96 + ".ogg"),
    ],
)
def test_results_are_written_nowhere_but_in_the_room(
    client: FlaskClient, queue: JobQueue, tmp_path: Path, name: str, shown: str
) -> None:
    key = hand_in(client, sound(5), name.format(outside=tmp_path)).get_json()["key"]
    assert finished(client, key)["name"] == shown
    for kind, saved in (("csv", "detections.csv"), ("raven", ".selections.txt"), ("audacity", ".labels.txt")):
        answer = client.get(f"/recordings/{key}/detections/{kind}")
        told = parse_options_header(answer.headers["Content-Disposition"])[1]["filename"]
        assert (answer.status_code, told) == (200, saved if kind == "csv" else shown + saved)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {queue.scratch}
    assert len(list(queue.scratch.iterdir())) == 1


def test_cells_of_a_table_have_a_clean_name(client: FlaskClient) -> None:
    key = hand_in(client, sound(5), "../=dawn\u202egpj.ogg").get_json()["key"]
    finished(client, key)
    table = client.get(f"/recordings/{key}/detections/csv").text
    assert table.splitlines()[1].startswith("'=dawngpj.ogg,0,5,robin,")


def test_every_answer_has_the_headers_that_keep_others_out(client: FlaskClient, key: str) -> None:
    for address in ("/", "/base.css", "/static/serve.js", f"/recordings/{key}", f"/recordings/{key}/audio", "/nowhere"):
        headers = client.get(address).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


def test_rounded_scores_stay_on_their_side_of_the_threshold() -> None:
    above_K = np.array([0.22484, 0.5, 0, 1], np.float32)
    scores_WK = np.random.default_rng(1).random((4000, 4)).astype(np.float32)
    scores_WK[:2] = np.nextafter(above_K, np.array([[-1], [2]], np.float32))
    shown_WK, limit_K = rounded(scores_WK, above_K)
    np.testing.assert_array_equal(shown_WK >= limit_K, scores_WK >= above_K)
    np.testing.assert_allclose(shown_WK, scores_WK, atol=1.51e-4)
