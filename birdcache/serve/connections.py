"""waitress's server, whose requests are checked before their body is read and whose threads never wait for a client."""

import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from waitress import utilities
from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer

from birdcache.process import allow_open_files
from birdcache.serve.app import HEADERS, TOO_LARGE
from birdcache.serve.callers import Callers
from birdcache.serve.jobs import disk_trouble

THREADS = 6
MOST_CONNECTIONS = 64  # one more waits until another ends
QUIET_S, LOOK_EVERY_S = 60, 1  # a connection on which nothing moves for so long ends
KEPT_BYTES = 2**26  # of an answer, in memory: it can be sent when the disk is full


class Refusal(utilities.Error):  # type: ignore[misc]
    """An answer to a request that the application never sees."""

    def __init__(self, code: int, body: str) -> None:
        super().__init__(body)
        self.code, self.reason = code, HTTPStatus(code).phrase

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status, headers and body."""
        headers = [("Content-Type", "text/plain; charset=utf-8"), *HEADERS.items()]
        return f"{self.code} {self.reason}", headers, f"{self.body}\n".encode()


class Nowhere(OverflowableBuffer):  # type: ignore[misc]
    """Takes the rest of a body that the disk does not: who sends it hears why at its end."""

    def append(self, _: bytes) -> None:
        """Keep nothing."""


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request, which is refused as soon as its headers are there."""

    error: utilities.Error | None
    trouble = ""  # of the disk, with the body

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the first line and the headers, and refuse those who may not call."""
        super().parse_header(header_plus)
        if not self.request_uri.startswith("/"):
            self.refuse(421, "this server is no proxy: ask it for a path, such as /")
        elif problem := self.adj.callers.refusal(self.command, self.query, self.headers):
            self.refuse(*problem)

    def received(self, data: bytes) -> int:
        """Take bytes; how many of them belong to this request."""
        try:
            taken = int(super().received(data))
        except OSError as error:  # of the temporary file for the body
            self.trouble, self.body_rcv.buf = disk_trouble(error), Nowhere(0)
            taken = int(super().received(data))
        if self.trouble and self.completed:
            self.refuse(507, self.trouble)
        elif self.error is not None and not isinstance(self.error, Refusal):
            self.refuse(self.error.code, TOO_LARGE if self.error.code == 413 else self.error.body)
        return taken

    def refuse(self, code: int, body: str) -> None:
        """Answer so, and do not read on."""
        self.error, self.completed, self.expect_continue = Refusal(code, body), True, False


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose requests are checked."""

    parser_class = Request


class Server(TcpWSGIServer):  # type: ignore[misc]
    """waitress's server with these connections."""

    channel_class = Channel


def server_of(application: Callable[..., Any], listening: socket.socket, callers: Callers, most_bytes: int) -> Server:
    """A server for an application on a socket that listens; bodies of requests may have `most_bytes`."""
    settings = Adjustments(
        sockets=[listening],
        threads=THREADS,
        ident="birdcache",
        max_request_body_size=most_bytes,
        connection_limit=allow_open_files(4 * MOST_CONNECTIONS) // 4,  # the rest is for recordings
        channel_timeout=QUIET_S,
        cleanup_interval=LOOK_EVERY_S,
        outbuf_overflow=KEPT_BYTES,
        outbuf_high_watermark=2**62,  # a thread that waits for a client would be lost for the others
        asyncore_use_poll=True,
        log_socket_errors=False,
    )
    settings.callers = callers
    sort = (listening.family, listening.type, listening.proto, listening.getsockname())
    return Server(application, _sock=listening, bind_socket=False, adj=settings, sockinfo=sort)
