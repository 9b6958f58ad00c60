"""How the server listens, and how it is ended."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import waitress
from flask import Flask

from birdcache.errors import CommandError
from birdcache.serve.jobs import JobQueue

THREADS = 6
ROOM_FOR_A_FORM = 2**20  # bytes around a file


def listening(app: Flask, host: str, port: int, most_bytes: int) -> Any:
    """A server that listens.

    Raises
    ------
    CommandError
        If the address cannot be used.
    """
    place = {"host": host, "port": port, "threads": THREADS, "ident": "birdcache"}
    try:
        return waitress.create_server(app, max_request_body_size=most_bytes + ROOM_FOR_A_FORM, **place)
    except OSError as error:
        raise CommandError(
            f"--host {host} --port {port}: cannot be used ({error.strerror}); choose another port"
        ) from None


def end_by_signals(queue: JobQueue) -> None:
    """Let Ctrl-C or SIGTERM end the server as soon as an analysis lets it, and a second one end it at once."""
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]

    def end(*_: object) -> None:
        for each in numbers:
            signal.signal(each, end_at_once)
        sys.exit(0)

    def end_at_once(number: int, _: object) -> None:
        queue.clear()
        os._exit(128 + number)  # threads are not waited for; decoders end with this process

    for each in numbers:
        signal.signal(each, end)
