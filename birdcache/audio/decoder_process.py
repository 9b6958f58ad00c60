"""The disposable process that decodes, with limited memory; only `birdcache.audio.decoder` talks to it.

A request names a function, a path and further arguments, or brings a text for those that follow; the answers are one
value, or arrays, each with its bytes behind it, and an end. Only the parent names functions: somebody who took over
this process through a bug of libsndfile could send numbers and text, and nothing that runs.
"""

from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from birdcache.audio.rejected import RejectedAudio, costing_one_file
from birdcache.child_process import Message, begun, next_request, packed
from birdcache.process import keep_heap


def main() -> None:
    """Answer requests until there are no more."""
    output = begun()
    keep_heap()  # or the system would clear 3 MB of fresh pages for each recording
    context = ""
    while (request := next_request()) is not None:
        if "function" not in request:
            context = request["context"]
            continue
        if request["context"] is not None:
            request["arguments"]["context"] = context
        for answer, content in answers(request):
            output.write(packed(answer))
            output.write(content)
        output.flush()


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


if __name__ == "__main__":
    main()
