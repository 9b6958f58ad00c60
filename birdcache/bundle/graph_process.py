"""The process that runs a bundle's graph in ONNX Runtime; only `birdcache.bundle.graph` talks to it.

On a CPU it may take half of the machine's memory.
"""

import hashlib
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32
from birdcache.bundle.format import EMBEDDING, SCORES
from birdcache.bundle.onnx_file import check_onnx
from birdcache.child_process import Message, begun, can_limit_memory, limit_memory, next_request, packed

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
LEAST_MEMORY_BYTES = 2**32
MOST_SHOWN = 400  # characters of an error


def main() -> None:
    """Open the graph that the first request names, then run it on the rows of each further one."""
    output, session = begun(), None
    while (request := next_request()) is not None:
        shapes = request.get("rows", [])
        rows = [np.frombuffer(sys.stdin.buffer.read(4 * math.prod(each)), np.float32).reshape(each) for each in shapes]
        arrays: Sequence[Floats32] = []
        try:
            if session is None:
                session, answer = opened(request)
            else:
                arrays = session.run([SCORES, EMBEDDING], dict(zip(request["names"], rows, strict=True)))
                answer = {"arrays": [[each.dtype.name, *each.shape[:4]] for each in arrays]}
        except MemoryError:
            answer = {"failed": "it takes more memory than this machine can give it"}
        except Exception as error:  # ONNX Runtime has a dozen kinds, all of its own
            answer = {"failed": " ".join(str(error).split())[:MOST_SHOWN] or type(error).__name__}
        output.write(packed(answer))
        for each in arrays if "arrays" in answer else ():
            output.write(np.ascontiguousarray(each).data.cast("B"))
        output.flush()


def opened(request: Message) -> tuple[Any, Message]:
    """The session of a request, and its facts: device, and of each input and output name, type and axes."""
    model = Path(request["path"]).read_bytes()
    if hashlib.sha256(model).hexdigest() != request["sha256"]:
        raise ValueError("it changes while it is read")
    check_onnx(model)
    # CUDA reserves far more than it takes
    if providers(request["device"]) == [PROVIDERS["cpu"]] and can_limit_memory():
        limit_memory(most_memory_bytes())
    session, device = open_session(model, request["device"], request["threads"])
    sides = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
    shown = {
        side: [[each.name[:80], each.type[:80], each.shape[:4]] for each in found[:20]] for side, found in sides.items()
    }
    return session, {"device": device, **shown}


def most_memory_bytes() -> int:
    """Bytes of memory that a graph may take: half of the machine's, or 4 GiB."""
    return max(LEAST_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


def providers(device: str) -> list[str]:
    """ONNX Runtime's names for the devices to use, the best first."""
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    kinds = ["cuda", "cpu"] if device != "cpu" and PROVIDERS["cuda"] in offered else ["cpu"]
    return [PROVIDERS[each] for each in kinds]


def open_session(model: bytes, device: str, threads: int = 0) -> tuple[Any, str]:
    """The graph in ONNX Runtime, and on which device; 0 threads = one for each core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=providers(device))
    # what is offered may still lack the GPU's libraries: only the session knows what it runs on
    return session, "cuda" if PROVIDERS["cuda"] in session.get_providers() else "cpu"


if __name__ == "__main__":
    main()
