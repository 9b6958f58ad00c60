"""The pages and addresses of `birdcache serve`.

Nothing is loaded from elsewhere. A page of another site cannot read answers or hand in recordings: requests that call
this server by another name (as with DNS rebinding) or come from another origin are refused, and nothing is embedded.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import waitress
from flask import Flask, Response, abort, jsonify, request, send_file
from werkzeug.exceptions import HTTPException

from birdcache.audio.suffixes import TYPES
from birdcache.errors import CommandError
from birdcache.predict.outputs import WRITERS
from birdcache.serve.answers import about, refused, result
from birdcache.serve.jobs import BusyError, JobQueue, Recording
from birdcache.templates import environment

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
BASE, TEMPLATES = Path(__file__).parent / "static/base.css", Path(__file__).parent / "templates"
THREADS = 6
FORM_BYTES = 2**20  # around a file
DOWNLOADS = ("csv", "raven", "audacity")


def create_app(queue: JobQueue, hosts: frozenset[str] | None, most_bytes: int) -> Flask:
    """The application.

    Parameters
    ----------
    hosts : names under which this server may be called, such as `127.0.0.1:8000`; None = any.
    most_bytes : the largest request that is read.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = most_bytes
    app.before_request(lambda: check_caller(hosts))
    app.after_request(with_headers)
    app.register_error_handler(HTTPException, as_json)
    page = environment(TEMPLATES).get_template("serve.html.j2")
    app.add_url_rule("/", view_func=lambda: page.render(**about(queue, most_bytes)), endpoint="page")
    app.add_url_rule("/base.css", view_func=lambda: send_file(BASE), endpoint="base")
    _add_recordings(app, queue)
    return app


def check_caller(hosts: frozenset[str] | None) -> None:
    """Refuse a request that was not made for this server, or by a page of another one."""
    if hosts is not None and request.host not in hosts:
        abort(Response("this server does not answer to that name\n", 421))
    origin = request.headers.get("Origin")
    if request.method != "GET" and origin is not None and urlsplit(origin).netloc != request.host:
        abort(Response("pages of other sites may not use this server\n", 403))


def with_headers(response: Response) -> Response:
    """An answer with the headers that all answers have."""
    response.headers.update(HEADERS)
    return response


def as_json(error: HTTPException) -> Any:
    """An error as JSON, with what to do about it."""
    if error.response is not None:
        return error.response
    hint = "cut the recording, or start the server with a larger --max-mb" if error.code == 413 else ""
    return jsonify(refused(str(error.code), error.description or error.name, hint)), error.code


def _add_recordings(app: Flask, queue: JobQueue) -> None:
    def found(key: str) -> Recording:
        return queue.recordings.get(key) or abort(404, "no such recording; the server keeps only the latest ones")

    def finished(key: str) -> Recording:
        recording = found(key)
        return recording if recording.state == "done" else abort(409, "this recording has no result")

    @app.post("/recordings")
    def hand_in() -> Any:
        sent = request.files.get("recording")
        if sent is None or not sent.filename:
            abort(400, "no recording was sent; send a file as form field `recording`")
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
        return Response(spectrum.values.tobytes(), mimetype="application/octet-stream")

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


def listening(app: Flask, host: str, port: int, most_bytes: int) -> Any:
    """A server that listens on an address.

    Raises
    ------
    CommandError
        If the address cannot be used.
    """
    place = {"host": host, "port": port, "threads": THREADS, "ident": "birdcache"}
    try:
        return waitress.create_server(app, max_request_body_size=most_bytes + FORM_BYTES, **place)
    except OSError as error:
        raise CommandError(
            f"--host {host} --port {port}: cannot be used ({error.strerror}); choose another address or port"
        ) from None
