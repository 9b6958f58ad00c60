"""`timed.py NAME COMMAND ...` runs a command and prints what it took; if it is DVC, what each kind of stage took."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time


def main() -> int:
    """Pass the command's lines on as they come; its exit status."""
    name, *command = sys.argv[1:]
    part, since, took = name, time.monotonic(), dict[str, float]()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or []:
            print(line, end="", flush=True)
            if stage := re.match(r"Running stage '([\w./:]+)", line):
                took[part] = took.get(part, 0) + time.monotonic() - since
                part, since = stage[1], time.monotonic()
    took[part] = took.get(part, 0) + time.monotonic() - since
    print("\n".join(f"took {seconds:6.1f} s: {each}" for each, seconds in took.items()), flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
