"""Trial: small files that promise, or unpack to, far more than fits: how much memory does decoding them take?

Each goes the way of a recording into a store: header, hash, then decoding in the disposable process. Memory is the
most that a process held at any time. The system tells it of a living process (`VmHWM`, looked at every few
milliseconds); of one that has ended it tells a bound, at least what its parent held when it was begun (`ru_maxrss`).
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from birdcache.audio.decoder import decoder
from birdcache.audio.rejected import RejectedAudio
from birdcache.params import load as params
from pipeline.builder.encode import decode_quantized, quantized_request
from pipeline.dataset.scan import scan_file
from tests.fixtures.tiny import ROOT
from tests.torture.bomb_files import BOMBS, Bomb
from tests.torture.outcome import Outcome
from tests.torture.projects import SERVER

MOST_BYTES = 2**30
DEADLINE_S = 300
POLL_S = 0.003
OWN_COMMAND = Path("/proc/self/cmdline").read_text()  # a child has it until it is a decoder
HOURS = 3.0  # of the sounds that are really there
Prepare = Callable[[], None]


@dataclass(frozen=True)
class Verdict:
    """What became of a bomb: the code of its refusal, or accepted; and the most memory of both processes.

    `decoder_bytes` was seen, `bound_bytes` cannot have been exceeded.
    """

    code: str
    decoder_bytes: int
    bound_bytes: int
    parent_bytes: int


def trial(tried: int = 0, hours: float = HOURS, prepare: Prepare | None = None) -> Outcome:
    """Decode bombs.

    Parameters
    ----------
    tried : how many, evenly spread; 0 is all.
    hours : of sound in those whose sound is really there.
    prepare : is run first in the process that decodes, to take a protection away.
    """
    names = list(BOMBS)
    step = max(1, len(names) // tried) if tried else 1
    verdicts: dict[str, Verdict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names[::step]:
            path = Path(folder) / f"bomb{BOMBS[name].suffix}"
            BOMBS[name].write(path, hours)
            verdicts[name] = _decoded(path, prepare)
    failures = [f"{name}: {told}" for name, verdict in verdicts.items() if (told := wrong(BOMBS[name], verdict))]
    return Outcome("bombs", len(verdicts), len(failures), failures[0] if failures else "none", _figure(verdicts))


def wrong(bomb: Bomb, verdict: Verdict) -> str:
    """What is wrong with what became of a bomb, or ""."""
    if verdict.code not in bomb.codes:
        return f"{verdict.code}, expected {' or '.join(bomb.codes)}"
    most = max(verdict.bound_bytes, verdict.parent_bytes)
    return f"took {most / 2**20:,.0f} MiB" if most > MOST_BYTES else ""


def _figure(verdicts: Mapping[str, Verdict]) -> str:
    worst = max(verdicts, key=lambda name: verdicts[name].decoder_bytes)
    bound = max(verdict.bound_bytes for verdict in verdicts.values())
    parent = max(verdict.parent_bytes for verdict in verdicts.values())
    refused = sum(verdict.code != "accepted" for verdict in verdicts.values())
    return (
        f"{refused} refused; at most {verdicts[worst].decoder_bytes / 2**20:,.0f} MiB in the decoder ({worst}; bound "
        f"{bound / 2**20:,.0f}), {parent / 2**20:,.0f} MiB in its parent"
    )


def _decoded(path: Path, prepare: Prepare | None) -> Verdict:
    """Decode a file in a process of its own, which has one decoder."""
    here, there = SERVER.Pipe(duplex=False)
    running = SERVER.Process(target=_decode, args=(path, there, prepare))
    running.start()
    there.close()
    try:
        code, *most_kib = here.recv() if here.poll(DEADLINE_S) else ("late", 0, 0, 0)
    except EOFError:
        code, *most_kib = "killed its parent", 0, 0, 0
    finally:
        running.kill()
        running.join()
    return Verdict(code, *(kib * 1024 for kib in most_kib))


def _decode(path: Path, answer: Connection, prepare: Prepare | None) -> None:
    """Go the way of a recording, and send its code and both processes' most memory in KiB."""
    if prepare:
        prepare()
    seen = [0]
    threading.Thread(target=_watch, args=(seen,), daemon=True).start()
    settings = params.load(ROOT / "params.yaml")
    data = settings.data.model_copy(update={"no_end": "accept", "longest_s": 10.0**6})
    scan = scan_file(path, data)
    code = scan.code
    if not code:
        try:
            request = quantized_request(path, settings.spectrograms["mel"], scan.sha256)
            for _ in decode_quantized(decoder(), request, scan.duration_s):
                pass
        except RejectedAudio as rejected:
            code = rejected.code
    decoder().close()
    most = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    answer.send((code or "accepted", seen[0], *most))


def _watch(seen: list[int]) -> None:
    """Note the most memory, in KiB, that any child of this process has held."""
    tasks = Path("/proc/self/task")
    while True:
        for child in {child for task in tasks.iterdir() for child in _text(task / "children").split()}:
            told = _text(Path(f"/proc/{child}/status")).partition("VmHWM:")[2].split()
            if told and _text(Path(f"/proc/{child}/cmdline")) != OWN_COMMAND:
                seen[0] = max(seen[0], int(told[0]))
        time.sleep(POLL_S)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""
