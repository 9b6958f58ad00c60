"""The disposable process that decodes, with limited memory; only `birdcache.audio.decoder` talks to it.

Messages are JSON behind four bytes of length. A request names a function, a path and further arguments; the answers
are one value, or arrays, each with its bytes behind it, and an end. Only the parent names functions: somebody who took
over this process through a bug of libsndfile could send numbers and text, and nothing that runs.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from birdcache.audio.rejected import RejectedAudio, costing_one_file
from birdcache.process import exit_with_parent

LENGTH = struct.Struct("<I")

Message = dict[str, Any]


def packed(message: Message) -> bytes:
    """A message as it goes through the pipe."""
    text = json.dumps(message).encode()
    return LENGTH.pack(len(text)) + text


def main() -> None:
    """Answer requests until there are no more. Arguments: the parent's process id, bytes of memory or 0 = any."""
    parent, memory_bytes = map(int, sys.argv[1:])
    exit_with_parent(parent)
    if memory_bytes:
        limit_memory(memory_bytes)
    output = _take_output()
    while head := sys.stdin.buffer.read(LENGTH.size):
        request = json.loads(sys.stdin.buffer.read(*LENGTH.unpack(head)))
        for answer, content in answers(request):
            output.write(packed(answer))
            output.write(content)
        output.flush()


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


def answers(request: Message) -> Iterator[tuple[Message, memoryview | bytes]]:
    """Answers to `{"function": "module:name", "path": ..., "arguments": {...}}`, each with the bytes behind it."""
    try:
        with costing_one_file():
            yield from _answers(request)
    except RejectedAudio as rejected:
        yield {"refused": [rejected.code, rejected.detail, rejected.hint]}, b""
    except MemoryError:
        yield {"refused": ["out-of-memory", "takes more memory than any recording needs", ""]}, b""


def _answers(request: Message) -> Iterator[tuple[Message, memoryview | bytes]]:
    module, _, name = request["function"].partition(":")
    result = getattr(import_module(module), name)(Path(request["path"]), **request["arguments"])
    if not isinstance(result, Iterator):
        yield {"value": asdict(result) if is_dataclass(result) else result}, b""  # type: ignore[arg-type]
        return
    for array in result:
        if len(array):  # a resampler may give nothing yet
            yield {"dtype": array.dtype.name, "shape": array.shape}, np.ascontiguousarray(array).data.cast("B")
    yield {"end": True}, b""


def _take_output() -> BinaryIO:
    """Standard output for answers alone: whatever a library prints goes to standard error."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


if __name__ == "__main__":
    main()
