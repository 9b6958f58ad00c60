"""The side of a disposable child process: messages are JSON behind four bytes of length, and bytes behind them."""

import importlib.util
import json
import logging
import os
import struct
import sys
from functools import cache
from typing import Any, BinaryIO

from birdcache.process import exit_with_parent

LENGTH = struct.Struct("<I")

Message = dict[str, Any]


def packed(message: Message) -> bytes:
    """A message as it goes through the pipe."""
    text = json.dumps(message).encode()
    return LENGTH.pack(len(text)) + text


def begun() -> BinaryIO:
    """Begin as a child, and open the pipe for answers.

    Arguments of the command: the parent's process id, and bytes of memory or 0 = any. Standard output is for answers
    alone: whatever a library prints goes to standard error.
    """
    parent, memory_bytes = map(int, sys.argv[1:])
    exit_with_parent(parent)
    if memory_bytes:
        limit_memory(memory_bytes)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def next_request() -> Message | None:
    """The parent's next request; None if there are no more."""
    head = sys.stdin.buffer.read(LENGTH.size)
    return json.loads(sys.stdin.buffer.read(*LENGTH.unpack(head))) if head else None


@cache
def can_limit_memory() -> bool:
    """True if this system limits a process's memory; otherwise a warning says so once."""
    if sys.platform != "darwin" and importlib.util.find_spec("resource") is not None:
        return True
    logging.getLogger(__name__).warning(
        "warning: this system cannot limit the memory of the process that decodes; a broken file may take all of it"
    )
    return False


def limit_memory(memory_bytes: int) -> None:
    """Let this process have so much address space and no more, and leave no core file."""
    import resource  # Windows has none

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
