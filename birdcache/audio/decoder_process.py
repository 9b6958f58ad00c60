"""The disposable process that decodes, under a limit of memory; only `birdcache.audio.decoder` talks to it.

Requests and answers are JSON behind four bytes of length; an answer that names frames is followed
by their codes, one that names samples by these.
Whoever took this process over through a fault of a decoder could send numbers and text, and nothing that runs.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import TypeAdapter

from birdcache.audio.digest import sound_sha256
from birdcache.audio.messages import LENGTH, Message, packed
from birdcache.audio.read import read_info, waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.views import View
from birdcache.process import exit_with_parent
from pipeline.build.encode import quantized_blocks

VIEW: TypeAdapter[Any] = TypeAdapter(View)


def main() -> None:
    """Answer requests until there are no more. Arguments: the parent's process id, the limit of memory in bytes."""
    parent, memory_bytes = map(int, sys.argv[1:])
    exit_with_parent(parent)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = _answers()
    while head := sys.stdin.buffer.read(LENGTH.size):
        request = json.loads(sys.stdin.buffer.read(*LENGTH.unpack(head)))
        for answer, samples in answered(request):
            answers.write(packed(answer))
            answers.write(samples)
        answers.flush()


def answered(request: Message) -> Iterator[tuple[Message, memoryview | bytes]]:
    """Answers, each with the bytes behind it.

    Requests are `{"header": path}`, `{"sound": path, "sha256": ..., "blocks": ...}`,
    `{"waveform": path, "sample_rate_hz": ..., "sha256": ..., "silence": ...}` and
    `{"quantized": path, "view": ..., "sha256": ..., "silence": ...}`.
    """
    try:
        if "header" in request:
            yield {"header": asdict(read_info(Path(request["header"])))}, b""
            return
        if "sound" in request:
            yield {"sound": sound_sha256(Path(request["sound"]), request["sha256"], request["blocks"])}, b""
            return
        if "waveform" in request:
            yield from _waveform(request)
            return
        view, path = VIEW.validate_python(request["view"]), Path(request["quantized"])
        for quantized in quantized_blocks(path, view, request["sha256"], request["silence"]):
            yield {"frames": len(quantized)}, np.ascontiguousarray(quantized).data.cast("B")
        yield {"end": True}, b""
    except RejectedAudio as rejected:
        yield {"refused": [rejected.code, rejected.detail, rejected.hint]}, b""
    except MemoryError:
        yield {"refused": ["out-of-memory", "takes more memory than any recording needs", ""]}, b""


def _waveform(request: Message) -> Iterator[tuple[Message, memoryview | bytes]]:
    path, rate_hz = Path(request["waveform"]), request["sample_rate_hz"]
    for samples_S in waveform_blocks(path, rate_hz, request["sha256"], silence=request["silence"]):
        if len(samples_S):  # a resampler may give nothing yet
            yield {"samples": len(samples_S)}, np.ascontiguousarray(samples_S).data.cast("B")
    yield {"end": True}, b""


def _answers() -> BinaryIO:
    """Standard output for answers alone: whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
