"""A bundle's graph in a process of its own: whatever it does, it ends in scores or in an error that says what it did.

A graph from a stranger may not end, take all memory, crash ONNX Runtime, or be another one than bundle.json describes.
B clip, S sample, K class, E feature.
"""

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np

from birdcache.arrays import Floats32
from birdcache.bundle import graph_process
from birdcache.bundle.format import EMBEDDING, SCORES, Description
from birdcache.child import Child, ChildError, begin, no_answer
from birdcache.child_process import Message, packed
from birdcache.errors import CommandError
from birdcache.predict.checked import FEATURE, check_scores
from birdcache.text import printable

WAIT_S = 60.0  # for the graph to open and score silence, and as long for each batch, beside MOST_TIMES what that took
MOST_TIMES = 20
SILENT_CLIPS = 2
OTHERS = "export the bundle again, or get it anew from somebody whom you trust"


class Graph(Child):
    """The graph of a bundle, opened and tried on silence."""

    def __init__(
        self, path: Path, sha256: str, description: Description, device: str = "auto", threads: int | None = None
    ) -> None:
        """Open a graph; a CommandError says why that cannot be, in whatever way it fails.

        Parameters
        ----------
        sha256 : what the file's bytes must have.
        device : auto, cpu or cuda; auto takes a GPU if this ONNX Runtime can use one.
        threads : None = as many as OMP_NUM_THREADS says, else one for each core.
        """
        super().__init__()
        self._path, self._description = path, description
        asked = {"sha256": sha256, "device": device, "threads": threads or threads_asked_for()}
        self._request = {"path": str(path.absolute()), **asked}
        self._silence_s = 0.0
        self.device = "cpu"
        if importlib.util.find_spec("onnxruntime") is None:
            raise CommandError("onnxruntime is not installed, and bundles need it: pip install onnxruntime")
        self._open()

    def run(self, rows: Sequence[Floats32]) -> tuple[Floats32, Floats32]:
        """Scores (B, K) and features (B, E) of rows (B, S) of each input; a CommandError if they are not such."""
        if self._process is None or self._process.poll() is not None:  # it ended over another recording, or its thread
            self._open()
        return self._run(rows, WAIT_S + MOST_TIMES * self._silence_s)

    def _open(self) -> None:
        begin_s = time.monotonic()
        self.close()
        with self._telling("it is not opened"):
            self._wait_at_most(WAIT_S)
            self._process = begin(graph_process.__name__, 0, {})
            with self._deadline():
                self._send(packed(self._request))
                facts = self._answer()
        self._check_facts(facts)
        silence = [np.zeros((SILENT_CLIPS, each.samples), np.float32) for each in self._description.inputs]
        scores_BK, features_BE = self._run(silence, max(self._left_s, 1.0))
        check_scores(scores_BK, self._path, lambda _: "a silent clip")
        check_scores(features_BE, self._path, lambda _: "a silent clip", bounds=FEATURE)
        self._silence_s = time.monotonic() - begin_s

    def _run(self, rows: Sequence[Floats32], wait_s: float) -> tuple[Floats32, Floats32]:
        shapes = [each.shape for each in rows]
        names = [each.name for each in self._description.inputs]
        clips, classes, features = shapes[0][0], len(self._description.labels), self._description.embedding
        wanted = [["float32", clips, classes], ["float32", clips, features]]
        with self._telling("it does not score its clips"):
            self._wait_at_most(wait_s)
            with self._deadline():
                contents = [np.ascontiguousarray(each, np.float32).data.cast("B") for each in rows]
                self._send(packed({"names": names, "rows": shapes}), *contents)
                found = self._answer().get("arrays")
                if found != wanted:
                    self._refuse(f"gives arrays {found} for {clips} clips, where bundle.json promises {wanted}")
                arrays = [np.empty(shape[1:], np.float32) for shape in wanted]
                for array in arrays:
                    self._read_into(array.data.cast("B"))
        return arrays[0], arrays[1]

    def _answer(self) -> Message:
        answer = self._read()
        if "failed" in answer:
            self._refuse(f"cannot be run ({answer['failed']})")
        return answer

    def _check_facts(self, facts: Message) -> None:
        """Compare the graph with its description."""
        with self._telling("it is not opened"):
            try:
                inputs = {name: (kind, axes) for name, kind, axes in facts["inputs"]}
                outputs = {name for name, _, _ in facts["outputs"]}
                self.device = str(facts["device"])
            except (KeyError, TypeError, ValueError):
                raise no_answer() from None
        wanted = {each.name: each.samples for each in self._description.inputs}
        if inputs.keys() != wanted.keys() or not {SCORES, EMBEDDING} <= outputs:
            self._refuse(f"takes {sorted(inputs)} and gives {sorted(outputs)}, but bundle.json describes another graph")
        for name, (kind, axes) in inputs.items():
            is_fixed = [isinstance(axis, int) for axis in axes]
            if kind != "tensor(float)" or is_fixed != [False, True] or axes[1] != wanted[name]:
                self._refuse(f"takes {kind} {axes} as {name}, but bundle.json describes rows of {wanted[name]} samples")
        if self._request["device"] == "cuda" != self.device:
            self.close()
            raise CommandError(
                "--device cuda: this ONNX Runtime cannot use a GPU; pip install onnxruntime-gpu instead, with CUDA's "
                "libraries, or leave it out"
            )

    def _refuse(self, what: str) -> NoReturn:
        raise CommandError(f"{self._path}: {printable(what)}; {OTHERS}")

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """End the process after an error, and say over what it ended itself."""
        try:
            yield
        except ChildError as fault:
            self.close()
            reason = {
                "timed-out": f"{what} after {fault}",
                "out-of-memory": "its process was killed by the system, as happens when memory runs out",
                "crashed": f"it crashes ONNX Runtime ({fault})",
            }
            self._refuse(reason.get(fault.code, f"{fault}"))
        except BaseException:
            self.close()
            raise


def threads_asked_for() -> int:
    """The first number in OMP_NUM_THREADS; 0 if it says nothing, which leaves the choice to ONNX Runtime."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0
