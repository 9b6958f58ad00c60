"""`birdcache serve`, from its start until it is stopped."""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

from birdcache.errors import CommandError
from birdcache.files import lock
from birdcache.predict.command import open_predictor
from birdcache.predict.outputs import Wanted
from birdcache.serve.callers import Callers, listening_socket

FORM_BYTES = 2**20  # around a file
PREFIX = "birdcache-serve-"
NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")  # as tempfile makes them


def run(arguments: argparse.Namespace) -> None:
    """Load the model, print the page's address, and answer until Ctrl-C."""
    if arguments.max_mb < 1:
        raise CommandError(f"--max-mb {arguments.max_mb}: must be at least 1")
    try:
        from birdcache.serve.app import create_app
        from birdcache.serve.connections import server_of
        from birdcache.serve.jobs import JobQueue
    except ModuleNotFoundError as error:
        raise CommandError(
            f'{error.name} is not installed, and `birdcache serve` needs it: pip install "birdcache[serve]"'
        ) from None
    with ExitStack() as stack:
        listening = stack.enter_context(closing(listening_socket(arguments.host, arguments.port)))
        callers, folder = Callers.at(listening.getsockname()[:2]), own_folder(stack)
        predictor = open_predictor(arguments)  # takes long, so that what can be refused is refused before
        queue = JobQueue(predictor, Wanted.of(predictor, arguments.threshold), folder)
        stack.callback(queue.close)
        end_by_signals(queue.clear)
        app = create_app(queue, arguments.max_mb * 2**20, callers.cookie)
        server = server_of(app, listening, callers, arguments.max_mb * 2**20 + FORM_BYTES)
        print("\n".join([*predictor.facts.summary, *address_lines(callers)]), flush=True)
        server.run()  # until SystemExit, which it keeps to itself
        print("stopping", flush=True)


def address_lines(callers: Callers) -> list[str]:
    """The page's address, with a warning if other machines reach it."""
    where = f"open {callers.address} in a browser; Ctrl-C ends it"
    if not callers.token:
        return [where]
    return [
        f"warning: other machines reach {callers.place[0]}; who knows the token in the address may hand in recordings",
        f"{where}; on other machines, put this one's name or address in place of {urlsplit(callers.address).hostname}",
    ]


def own_folder(stack: ExitStack) -> Path:
    """A new folder for recordings, which goes when the stack is closed; those of dead servers are removed, too.

    It is locked while the server lives: so the next one knows what a killed one left.
    """
    try:
        if os.name == "nt":  # which knows no such locks
            return Path(tempfile.mkdtemp(prefix=PREFIX))
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError), ExitStack() as other:
                if NAME.fullmatch(left.name) and left.lstat().st_uid == os.getuid() and _is_locked(left, other):
                    shutil.rmtree(left, ignore_errors=True)
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            with suppress(FileNotFoundError):  # another server may find it before it is locked, and remove it
                if _is_locked(folder, stack) and folder.exists():
                    return folder
    except OSError as error:
        raise CommandError(
            f"{error.filename or 'TMPDIR'}: no temporary folder can be made there ({error.strerror}); set TMPDIR to a "
            "folder on a disk with space"
        ) from error


def _is_locked(folder: Path, stack: ExitStack) -> bool:
    """Lock a folder, no link to one, until the stack is closed; False if another process holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    stack.callback(os.close, handle)
    return lock(handle)


def end_by_signals(clear: Callable[[], None]) -> None:
    """Let Ctrl-C or SIGTERM end the server once an analysis lets it, and a second one clear up and end it at once."""
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
