"""The pages, addresses and answers of `birdcache serve`. W window, K class.

Nothing is loaded from elsewhere, and nothing is embedded. Who may call is checked before a request comes here.
"""

import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response, abort, jsonify, request, send_file
from werkzeug.exceptions import HTTPException

from birdcache.arrays import Floats32, Floats64
from birdcache.audio.suffixes import TYPES
from birdcache.predict.outputs import WRITERS, Wanted
from birdcache.serve.jobs import MOST_KEPT, BusyError, JobQueue, Recording, shown_name, why
from birdcache.serve.spectrum import PITCH_HZ, RATE_HZ
from birdcache.templates import environment

BASE, TEMPLATES = Path(__file__).parent / "static/base.css", Path(__file__).parent / "templates"
HIDDEN = "is no recording: files with a dot before their name are a system's own; hand in the one without"
DOWNLOADS = ("csv", "raven", "audacity")
DECIMALS = 4
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOO_LARGE = "the recording is larger than this server takes: cut it, or start the server with a larger --max-mb"


def create_app(queue: JobQueue, most_bytes: int, cookie: str = "") -> Flask:
    """The application.

    Parameters
    ----------
    most_bytes : the largest request that is read.
    cookie : comes with the page, and back with all that the page asks for.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = most_bytes
    app.after_request(with_headers)
    app.register_error_handler(Exception, as_json)
    page = environment(TEMPLATES).get_template("serve.html.j2")
    with_cookie = {"Set-Cookie": cookie} if cookie else {}
    app.add_url_rule("/", "page", lambda: (page.render(**about(queue, most_bytes)), with_cookie))
    app.add_url_rule("/base.css", "base", lambda: send_file(BASE))
    _add_recordings(app, queue)
    return app


def with_headers(response: Response) -> Response:
    """An answer with the headers that all answers have."""
    response.headers.update(HEADERS)
    return response


def as_json(error: Exception) -> Any:
    """An error as JSON, with what to do about it."""
    if isinstance(error, HTTPException):
        detail = TOO_LARGE if error.code == 413 else error.description or error.name
        return jsonify(refused(str(error.code), detail)), error.code
    told = why(error, "this request")
    return jsonify(refused(told.code, told.detail, told.hint)), 507 if isinstance(error, OSError) else 500


def _add_recordings(app: Flask, queue: JobQueue) -> None:
    def found(key: str) -> Recording:
        return queue.recordings.get(key) or abort(404, "no such recording; the server keeps only the latest ones")

    def finished(key: str) -> Recording:
        recording = found(key)
        return recording if recording.state == "done" else abort(409, "this recording has no result")

    @app.post("/recordings")
    def hand_in() -> Any:
        files = [each for each in request.files.getlist("recording") if each.filename]
        if len(files) != 1:
            abort(400, f"{len(files) or 'no'} recordings were sent; send one file a request, as form field `recording`")
        (sent,) = files
        assert sent.filename is not None
        if shown_name(sent.filename).startswith("."):
            abort(415, f"{shown_name(sent.filename)} {HIDDEN}")
        suffix = Path(sent.filename).suffix.lower()
        try:
            with closing(sent):
                key = queue.take(sent.filename, suffix if suffix in TYPES else "", sent.save)
        except BusyError:
            abort(503, "too many recordings are waiting; try again later")
        return jsonify({"key": key}), 202

    @app.get("/recordings/<key>")
    def look(key: str) -> Any:
        return jsonify(result(found(key), queue.wanted))

    @app.delete("/recordings/<key>")
    def forget(key: str) -> Any:
        found(key)
        queue.remove(key)
        return "", 204

    @app.get("/recordings/<key>/spectrogram")
    def show(key: str) -> Any:
        spectrum = finished(key).spectrum
        assert spectrum is not None
        return Response(spectrum.tobytes(), mimetype="application/octet-stream")

    @app.get("/recordings/<key>/audio")
    def play(key: str) -> Any:
        path = finished(key).path
        return send_file(path.resolve(), mimetype=TYPES.get(path.suffix, "application/octet-stream"), conditional=True)

    @app.get("/recordings/<key>/detections/<kind>")
    def download(key: str, kind: str) -> Any:
        recording = finished(key)
        if kind not in DOWNLOADS:
            abort(404, f"there is no format {kind}; choose one of {', '.join(DOWNLOADS)}")
        return _written(recording, kind, queue)


def _written(recording: Recording, kind: str, queue: JobQueue) -> Response:
    scored = recording.scored
    assert scored is not None
    with tempfile.TemporaryDirectory(dir=queue.scratch) as folder:
        WRITERS[kind](Path(folder), lambda: [scored], queue.wanted)
        (written,) = (path for path in Path(folder).rglob("*") if path.is_file())
        content = BytesIO(written.read_bytes())
    name = written.name.replace(scored.name.name, recording.name)
    return send_file(
        content, mimetype="text/csv" if kind == "csv" else "text/plain", as_attachment=True, download_name=name
    )


def about(queue: JobQueue, most_bytes: int) -> dict[str, Any]:
    """The page's facts of the model and of recordings that may be uploaded."""
    return {
        "summary": list(queue.predictor.facts.summary),
        "labels": len(queue.predictor.facts.labels),
        "most_mb": most_bytes // 2**20,
        "most_kept": MOST_KEPT,
        "extensions": list(TYPES),
        "formats": [suffix[1:] for suffix in {TYPES[suffix]: suffix for suffix in list(TYPES)[::-1]}.values()][::-1],
    }


def refused(code: str, detail: str, hint: str = "") -> dict[str, Any]:
    """A refusal, of a recording or of a request."""
    return {"state": "refused", "code": code, "detail": detail, "hint": hint}


def result(recording: Recording, wanted: Wanted) -> dict[str, Any]:
    """The progress of a recording, and its results when it is done."""
    if recording.rejected is not None:
        rejected = recording.rejected
        return refused(rejected.code, f"{recording.name} {rejected.detail}", rejected.hint)
    if recording.scored is None or recording.spectrum is None or recording.state != "done":
        return {"state": recording.state, "share": round(recording.share, 3)}
    scored, shape = recording.scored, recording.spectrum.shape
    scores_WK, above_K = rounded(scored.scores, wanted.above)
    pitch = [(hertz, round(2 * hertz / RATE_HZ, 4)) for hertz in PITCH_HZ]  # with its place: 0 lowest, 1 highest
    return {
        "state": "done",
        "name": recording.name,
        "duration_s": scored.duration_s,
        "notes": recording.notes,
        "window_s": wanted.facts.window_s,
        "labels": list(wanted.facts.labels),
        "names": [wanted.facts.names.get(label, "") for label in wanted.facts.labels],
        "above": above_K.tolist(),
        "scores": scores_WK.tolist(),
        "spectrogram": {"frames": shape[0], "bins": shape[1], "pitch": pitch},
    }


def rounded(scores_WK: Floats32, above_K: Floats32) -> tuple[Floats64, Floats64]:
    """Scores and thresholds with few decimals; rounding takes no score to the other side of its threshold.

    So the page, which compares them anew, shows the detections that are saved.
    """
    unit = 10.0**DECIMALS
    limit_K = np.rint(np.asarray(above_K, np.float64) * unit)
    steps_WK = np.rint(np.asarray(scores_WK, np.float64) * unit)
    is_called = scores_WK >= above_K
    steps_WK = np.where(is_called, np.maximum(steps_WK, limit_K), np.minimum(steps_WK, limit_K - 1))
    return steps_WK / unit, limit_K / unit
