"""`birdcache serve`, from its start until it is stopped."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from birdcache.errors import CommandError
from birdcache.predict.command import open_predictor
from birdcache.predict.outputs import Wanted

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 80  # browsers leave it out


def run(arguments: argparse.Namespace) -> None:
    """Load the model, print the page's address, and answer until Ctrl-C.

    Raises
    ------
    CommandError
        If there is no model, a library is missing, or the address cannot be used.
    """
    if arguments.max_mb < 1:
        raise CommandError(f"--max-mb {arguments.max_mb}: must be at least 1")
    try:
        from birdcache.serve.app import create_app, listening
        from birdcache.serve.jobs import JobQueue
    except ModuleNotFoundError as error:
        raise CommandError(
            f'{error.name} is not installed, and `birdcache serve` needs it: pip install "birdcache[serve]"'
        ) from None
    predictor = open_predictor(arguments)
    wanted = Wanted.of(predictor, arguments.threshold)
    most_bytes = arguments.max_mb * 2**20
    queue = JobQueue(predictor, wanted, Path(tempfile.mkdtemp(prefix="birdcache-serve-")))
    try:
        end_by_signals(queue.clear)
        app = create_app(queue, own_names(arguments.host, arguments.port), most_bytes)
        server = listening(app, arguments.host, arguments.port, most_bytes)
        print("\n".join([*predictor.facts.summary, *address_lines(arguments.host, arguments.port)]), flush=True)
        server.run()  # until SystemExit, which it keeps to itself
        print("stopping", flush=True)
    finally:
        queue.close()


def address_lines(host: str, port: int) -> list[str]:
    """The page's address, with a warning if other machines reach it."""
    where = f"open http://{shown_host(host)}:{port}/ in a browser; Ctrl-C ends it"
    if host in LOOPBACK:
        return [where]
    return [f"warning: {host} can be reached from other machines, which may upload recordings", where]


def own_names(host: str, port: int) -> frozenset[str] | None:
    """Names under which a server of this machine alone may be called; None = any, for one that others reach."""
    if host not in LOOPBACK:
        return None
    names = frozenset(map(shown_host, LOOPBACK))
    return names if port == DEFAULT_PORT else frozenset(f"{name}:{port}" for name in names)


def shown_host(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def end_by_signals(clear: Callable[[], None]) -> None:
    """Let Ctrl-C or SIGTERM end the server as soon as an analysis lets it, and a second one end it at once.

    Parameters
    ----------
    clear : removes all files, before the server ends at once.
    """
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]

    def end(*_: object) -> None:
        for each in numbers:
            signal.signal(each, end_at_once)
        sys.exit(0)

    def end_at_once(number: int, _: object) -> None:
        clear()
        os._exit(128 + number)  # threads are not waited for; decoders end with this process

    for each in numbers:
        signal.signal(each, end)
