"""Progress of long work: a bar on a terminal, one line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

LINE_EVERY_S = 10.0


class Progress:
    """Counts finished units of work and shows their rate and the time that is left.

    Use as a context manager; call `update` for what has finished. Off a terminal it writes plain lines,
    so that a log stays readable.
    """

    def __init__(self, total: float, what: str, unit: str, stream: TextIO | None = None) -> None:
        self._total, self._what, self._unit = total, what, unit
        self._stream = stream or sys.stderr
        self._done = 0.0
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", file=self._stream) if self._stream.isatty() else None

    def update(self, amount: float = 1) -> None:
        """Say that `amount` more units have finished."""
        self._done += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            print(self._line(), file=self._stream, flush=True)

    def say(self, line: str) -> None:
        """Print a line on standard output, above the bar."""
        if self._bar is not None:
            self._bar.write(line)
        else:
            print(line, flush=True)

    def _line(self) -> str:
        elapsed_s = max(time.monotonic() - self._start, 1e-9)
        rate = self._done / elapsed_s
        left_s = (self._total - self._done) / rate if rate else 0.0
        eta = f", {_clock(left_s)} left" if self._done < self._total else f" in {_clock(elapsed_s)}"
        return f"{self._what}: {round(self._done, 1):g}/{self._total:g} {self._unit}, {rate:.1f}/s{eta}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            print(self._line(), file=self._stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
