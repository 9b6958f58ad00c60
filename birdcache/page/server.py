"""`birdcache serve`: the page of a bundle on a port of this machine, with the headers that browsers reward."""

import argparse
import re
import signal
import sys
import tempfile
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from birdcache.errors import CommandError
from birdcache.page.build import page_files, write_page

HOST = "127.0.0.1"
OWN_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?", re.IGNORECASE)  # a tunnel changes the port
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self'; img-src data:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
COMPILING = {"/worker.js", "/ort.wasm.bundle.min.mjs"}  # threads that run the graph; each has a policy of its own
HEADERS = {
    "Cross-Origin-Embedder-Policy": "require-corp",  # this and the next allow threads that share memory
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    "": "application/octet-stream",
}


class PageHandler(SimpleHTTPRequestHandler):
    """Answers with files of one folder, for pages that were opened by a name of this machine."""

    extensions_map = TYPES  # what the system says of endings is often wrong
    timeout = 60

    def send_head(self) -> BytesIO | BinaryIO | None:
        """Refuse other names, which DNS rebinding leads here: a page of another site must not read the bundle."""
        if OWN_NAMES.fullmatch(self.headers.get("Host", "")):
            return super().send_head()
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"open http://{HOST}:{self.connection.getsockname()[1]}/")
        return None

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        compiles = self.path in COMPILING
        policy = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'") if compiles else POLICY
        for name, value in {**HEADERS, "Content-Security-Policy": policy}.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


def run(arguments: argparse.Namespace) -> None:
    """Build the page in a temporary folder, print its address, and answer until Ctrl-C."""
    files = page_files(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        tempfile.TemporaryDirectory(prefix="birdcache-page-") as folder,
        listening(Path(folder), arguments.port) as server,
    ):
        write_page(Path(folder), files)
        print(f"open http://{HOST}:{server.server_port}/ in a browser; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def listening(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder's files; a CommandError if the port cannot be used."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(PageHandler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "must be from 0 to 65535"
        raise CommandError(
            f"--port {port}: cannot be used ({reason}); choose another, or 0 for any that is free"
        ) from None
