"""What every exception of the project has in common, and how a stage reports one."""

from __future__ import annotations

import sys
from collections.abc import Callable


class BirdcacheError(Exception):
    """A problem that the user can solve: the message names the place, the rule that was broken, and the way out."""


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`; report a problem of the user's on standard error, without a traceback.

    Raises
    ------
    SystemExit
        With status 1, after the message was printed.
    """
    try:
        main()
    except BirdcacheError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
