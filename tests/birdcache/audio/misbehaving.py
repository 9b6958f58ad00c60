"""A decoding process that does what broken decoders do, to files of certain names."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.audio import decoder_process, read
from cache.quantize import QuantizedArray
from pipeline.builder import encode
from pipeline.builder.encode import quantized_blocks

GIB = 2**30
PIECES = 30  # 0.1 s apart; they leave the process by 8 kB, which is two thirds of a clip of 3 s


def misbehave(path: Path) -> None:
    """What the name says; `once-...` only the first time."""
    name, mark = path.stem, path.with_suffix(".seen")
    if name.startswith("once-"):
        if mark.exists():
            return
        mark.touch()
    for word, deed in DEEDS.items():
        if word in name:
            deed()


def swell() -> None:
    """Take more memory than anybody may."""
    kept = [bytearray(GIB) for _ in range(4)]
    raise AssertionError(f"{len(kept)} GiB are there")


DEEDS: dict[str, Callable[[], Any]] = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "quits": lambda: os._exit(3),
    "stalls": lambda: time.sleep(600),
    "swells": swell,
    "blunders": lambda: math.factorial(-1),
    "chatters": lambda: os.write(1, b"libfoo: warning\n"),
    "babbles": lambda: os.write(ANSWERS, b"\xff" * 64),
}
ANSWERS = 3  # the first descriptor that is free when the child takes its own for answers


def watched(function: Callable[..., Any]) -> Callable[..., Any]:
    def misbehaving(path: Path, *arguments: Any) -> Any:
        misbehave(path)
        return function(path, *arguments)

    return misbehaving


def halfway(path: Path, **arguments: Any) -> Iterator[QuantizedArray]:
    """Codes, and the deed of `late-...` after the first ones; of `trickles` little by little."""
    late = path.stem.startswith("late-")
    if not late:
        misbehave(path)
    for quantized in quantized_blocks(path, **arguments):
        pieces: list[Any] = np.array_split(quantized, PIECES) if path.stem == "trickles" else [quantized]
        for piece in pieces:
            time.sleep(0.1 if len(piece) < len(quantized) else 0)
            yield piece
        if late:
            misbehave(path)


if __name__ == "__main__":
    vars(read)["read_info"] = watched(read.read_info)
    vars(encode)["quantized_blocks"] = halfway
    decoder_process.main()
