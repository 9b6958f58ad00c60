"""Progress of long work: a bar on a terminal, one line every ten seconds elsewhere."""

import io
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

from tqdm import tqdm

LINE_EVERY_S = 10.0


Advance = Callable[[int], None]  # called with the number of further units that have finished


def no_progress(amount: int) -> None:
    """An `Advance` that shows nothing."""


class Progress:
    """Counts finished units of work and shows their rate and the time that is left.

    Use as a context manager; call `update` for what has finished. Off a terminal it writes plain lines,
    so that a log stays readable.
    """

    def __init__(self, total: float, what: str, unit: str, stream: TextIO | None = None, done: float = 0.0) -> None:
        """Begin; `done` units were finished before, and do not count for the rate."""
        self._total, self._what, self._unit = total, what, unit
        self._stream = stream or (io.StringIO() if os.environ.get("BIRDCACHE_QUIET") else sys.stderr)
        self._before = self._done = done
        self._start = self._last_line = time.monotonic()
        self._bar: tqdm[Any] | None = None
        if self._stream.isatty():
            self._bar = tqdm(total=total, initial=done, desc=what, unit=f" {unit}", file=self._stream)

    def update(self, amount: float = 1) -> None:
        """Count `amount` more units as finished."""
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif self._done < self._total and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            print(self._line(), file=self._stream, flush=True)

    def say(self, line: str) -> None:
        """Print a line on standard output, above the bar."""
        if self._bar is not None:
            self._bar.write(line)
        else:
            print(line, flush=True)

    def _line(self, ended: bool = False) -> str:
        elapsed_s = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._before) / elapsed_s
        left_s = (self._total - self._done) / rate if rate else 0.0
        ended = ended or self._done >= self._total
        clock = tqdm.format_interval(round(elapsed_s if ended else left_s))
        eta = f" in {clock}" if ended else f", {clock} left"
        return f"{self._what}: {round(self._done, 1):,.10g}/{self._total:,.10g} {self._unit}, {rate:,.1f}/s{eta}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            print(self._line(ended=True), file=self._stream, flush=True)
