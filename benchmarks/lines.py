"""Lines of a long measurement, each printed as soon as it is known, and what of it held."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Lines:
    """Lines of what is known so far, on the terminal and in a file, and their numbers."""

    path: Path | None
    numbers: dict[str, Any]
    most_s: float  # after which nothing more is begun
    failed: int = 0
    begin: float = field(default_factory=time.perf_counter)

    def say(self, name: str, told: str) -> None:
        """Print a line, and append it."""
        line = f"{time.perf_counter() - self.begin:6.1f} s  {name:<52} {told}"
        print(line, flush=True)
        if self.path:
            with self.path.open("a") as file:
                file.write(f"{line}\n")

    def tell(self, name: str, holds: bool, told: str) -> None:
        """Say whether a check holds."""
        self.failed += not holds
        self.numbers[name] = holds
        self.say(name, f"{'yes' if holds else 'NO '}  {told}")

    def attempt(self, name: str, do: Callable[[], object]) -> None:
        """Do something unless the time is up; an error is a line, and the rest goes on."""
        if time.perf_counter() - self.begin > self.most_s:
            self.say(name, "left out: the time is up")
            return
        try:
            do()
        except Exception as error:
            self.failed += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            self.say(name, f"FAILED  {type(error).__name__}: {str(error)[:300]} ({last.filename}:{last.lineno})")
