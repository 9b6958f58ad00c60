"""Connections that no client can use to block the page: requests are checked before their body is read, and what is
slow, half sent or not taken ends, by waitress's server with deadlines of its own.

A thread never waits for a client: waitress keeps what it receives and sends in memory or unnamed temporary files.
"""

import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from waitress import utilities
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer

from birdcache.process import allow_open_files
from birdcache.serve.answers import HEADERS, TOO_LARGE
from birdcache.serve.callers import Callers
from birdcache.serve.jobs import disk_trouble

THREADS = 6
MOST_CONNECTIONS = 64  # one more ends the one that has been quiet for longest
REQUEST_S, BYTES_PER_S = 20.0, 4096.0  # to send a request, and so much longer as its bytes take at this rate
QUIET_S = 120.0  # without a request, or without taking anything of an answer
LINGER_S = 3.0  # to go on sending after a refusal, before it must be heard
LOOK_EVERY_S = 1.0
MOST_HEADER_BYTES = 2**15
KEPT_BYTES = 2**26  # of an answer, in memory: it can be sent when the disk is full
TRANSFER_ENCODING = re.compile(rb"^transfer-encoding[ \t]*:", re.IGNORECASE | re.MULTILINE)


class Refusal(utilities.Error):  # type: ignore[misc]
    """An answer to a request that the application never sees."""

    def __init__(self, code: int, body: str) -> None:
        super().__init__(body)
        self.code, self.reason = code, HTTPStatus(code).phrase

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status, headers and body."""
        headers = [("Content-Type", "text/plain; charset=utf-8"), *HEADERS.items()]
        return f"{self.code} {self.reason}", headers, f"{self.body}\n".encode()


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request, which is refused as soon as its headers are there."""

    error: utilities.Error | None
    command = path = query = ""
    has_transfer_encoding = is_checked = False

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the first line and the headers; waitress forgets Transfer-Encoding where it does not obey it."""
        self.has_transfer_encoding = TRANSFER_ENCODING.search(header_plus) is not None
        super().parse_header(header_plus)

    def received(self, data: bytes) -> int:
        """Take bytes; how many of them belong to this request."""
        try:
            taken = int(super().received(data))
        except OSError as error:  # of the temporary file for the body
            taken = len(data)
            self.refuse(507, disk_trouble(error))
        if self.headers_finished and not self.is_checked and not self.empty:
            self.is_checked = True
            if problem := self._problem():
                self.refuse(*problem)
        if self.error is not None and not isinstance(self.error, Refusal):
            self.refuse(self.error.code, TOO_LARGE if self.error.code == 413 else self.error.body)
        return taken

    def refuse(self, code: int, body: str) -> None:
        """Answer so, and do not read on."""
        self.error, self.completed, self.expect_continue = Refusal(code, body), True, False

    def close(self) -> None:
        """Forget the body, which a full disk may refuse to flush."""
        with suppress(OSError):
            super().close()

    def _problem(self) -> tuple[int, str] | None:
        if self.error is not None and self.error.code != 413:
            return None
        if self.version not in ("1.0", "1.1"):
            return 505, "this server speaks HTTP/1.0 and HTTP/1.1"
        if self.has_transfer_encoding:
            return 411, "send the body whole, with its length (Content-Length) instead of a Transfer-Encoding"
        if not self.request_uri.startswith("/"):
            return 421, "this server is no proxy: ask it for a path, such as /"
        callers: Callers = self.adj.callers
        return callers.refusal(self.command, self.query, self.headers)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that ends when its client is slow."""

    parser_class = Request
    request: Request | None
    requests: list[Request]
    close_when_flushed: bool
    lingers = False  # everything is sent; what still comes is thrown away
    began = 0.0  # the request that is being received

    def received(self, data: bytes) -> bool:
        """Take bytes of a request."""
        if self.request is None:
            self.began = time.time()
        return bool(super().received(data))

    def readable(self) -> bool:
        """True if bytes are wanted."""
        return self.lingers or super().readable()

    def handle_read(self) -> None:
        """Read, or throw away what a client goes on to send."""
        if not self.lingers:
            super().handle_read()
            return
        with suppress(OSError):
            self.recv(self.adj.recv_bytes)

    def handle_write(self) -> None:
        """Send; close only when the client has heard all: closed with unread bytes, it would hear of a reset alone."""
        if not self.close_when_flushed:  # which a thread sets, and only once
            super().handle_write()
            return
        self.close_when_flushed = False
        super().handle_write()
        if self.connected and self.total_outbufs_len:
            self.close_when_flushed = True
        elif self.connected:
            self.lingers, self.last_activity = True, time.time()
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def end_if_late(self, now: float) -> None:
        """End it if the client has had its time; one that has begun to ask is told."""
        quiet_s = now - self.last_activity
        if self.lingers or self.total_outbufs_len:
            is_late = quiet_s > (LINGER_S if self.lingers else QUIET_S)
        elif self.requests or self.request is None:
            is_late = not self.requests and quiet_s > (QUIET_S if self.began else REQUEST_S)
        else:
            is_late = False
            if now - self.began > REQUEST_S + self.request.body_bytes_received / BYTES_PER_S:
                self.request.refuse(408, "the request did not come in time: send it again, on a faster connection")
                self.requests, self.request = [self.request], None
                self.server.add_task(self)
        if is_late:
            self.drop()

    def drop(self) -> None:
        """End it in the next round of the loop, even if the client takes nothing."""
        self.will_close = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """waitress's server with these connections."""

    channel_class = Channel

    def readable(self) -> bool:
        """True if one more connection may come: when all are taken, the quietest one that awaits no answer ends."""
        is_wanted = bool(super().readable())
        if len(self.active_channels) < self.adj.most_connections:
            return is_wanted
        idle = [each for each in self.active_channels.values() if not each.requests and not each.will_close]
        if idle:
            min(idle, key=lambda each: each.last_activity).drop()
        return False

    def maintenance(self, now: float) -> None:
        """End connections that are late."""
        for channel in list(self.active_channels.values()):
            channel.end_if_late(now)


def server_of(application: Callable[..., Any], listening: socket.socket, callers: Callers, most_bytes: int) -> Server:
    """A server for an application on a socket that listens; bodies of requests may have `most_bytes`."""
    settings = Adjustments(
        sockets=[listening],
        threads=THREADS,
        ident="birdcache",
        max_request_body_size=most_bytes,
        max_request_header_size=MOST_HEADER_BYTES,
        connection_limit=2**20,  # ours is kept in a better way
        outbuf_overflow=KEPT_BYTES,
        outbuf_high_watermark=2**62,  # a thread that waits for a client would be lost for the others
        asyncore_use_poll=True,
        log_socket_errors=False,
    )
    settings.cleanup_interval = settings.asyncore_loop_timeout = LOOK_EVERY_S
    settings.callers = callers
    settings.most_connections = allow_open_files(4 * MOST_CONNECTIONS) // 4  # the rest is for recordings
    sort = (listening.family, listening.type, listening.proto, listening.getsockname())
    return Server(application, _sock=listening, bind_socket=False, adj=settings, sockinfo=sort)
