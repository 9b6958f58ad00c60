"""Trial: spoiled Ogg files, half of them with mended checksums, go the way of a recording into a store.

A child process reads them, so that a crash of the decoder is counted and not suffered; each has a deadline.
Run `python -m tests.torture.mutated_ogg SEED FIRST LAST FOLDER` as the child does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.audio.read import waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.params import load as params
from birdcache.params.model import Params
from pipeline.builder.frontend import room, spectrogram_blocks
from pipeline.dataset.scan import scan_file
from tests.torture.mutations import Mutant, mutant
from tests.torture.ogg_files import base_files, is_intact
from tests.torture.outcome import Outcome

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-m")
MODULE = "tests.torture.mutated_ogg"
DEADLINE_S = 20
CRASHED, LATE = "crashed", "over the deadline"


def trial(tried: int = 10_000, seed: int = 1) -> Outcome:
    """Read so many spoiled files; failures are crashes, missed deadlines, and bad sound that was accepted."""
    codes: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for verdict in verdicts(tried, seed, Path(folder)):
            codes[("mended " if verdict["mended"] else "") + verdict["code"]] += 1
            if verdict["failure"]:
                failures.append(f"{verdict['number']} {verdict['kind']}: {verdict['failure']}")
    counts = ", ".join(f"{code} {count}" for code, count in codes.most_common())
    return Outcome("mutated OGGs", tried, len(failures), failures[0] if failures else "none", counts)


def verdicts(tried: int, seed: int, folder: Path, module: str = MODULE) -> Iterator[dict[str, Any]]:
    """The verdict on each file; a child that dies is replaced by one that goes on behind the file that killed it."""
    number = 0
    while number < tried:
        command = child_command(str(seed), str(number), str(tried), str(folder), module=module)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            for line in child.stdout or ():
                yield json.loads(line)
                number += 1
        if number < tried:
            if child.returncode > 0:
                raise RuntimeError(f"the child of the trial ended with status {child.returncode} at file {number}")
            code = LATE if child.returncode == -signal.SIGALRM else CRASHED
            told = f"{code} ({signal.Signals(-child.returncode).name})"
            yield {"number": number, "kind": "", "mended": bool(number % 2), "code": code, "failure": told}
            number += 1


def child_command(*numbers: str, module: str = MODULE) -> list[str]:
    """What reads the files of these numbers."""
    return [*PYTHON, module, *numbers]


def nth_mutant(bases: Mapping[str, bytes], seed: int, number: int) -> Mutant:
    """The file of this number; every second one has mended checksums."""
    return mutant(bases, np.random.default_rng((seed, number)), mended=bool(number % 2))


def judge(spoiled: Mutant, path: Path, settings: Params) -> tuple[str, str]:
    """The code under which the file is refused, or `accepted`; and what is wrong with that, or ""."""
    path.write_bytes(spoiled.content)
    scan = scan_file(path, settings.data.model_copy(update={"shortest_s": 0.01}))
    if scan.code:
        return scan.code, ""
    try:
        failure = _decode(path, settings)
    except RejectedAudio as rejected:
        return rejected.code, ""
    behind = int(scan.notes[0].detail.split()[0]) if scan.notes else 0  # bytes behind the last page, which are noted
    if not is_intact(spoiled.content[: len(spoiled.content) - behind]):
        return "accepted", "accepted with a wrong checksum"
    return "accepted", failure or ("" if spoiled.mended or behind else "accepted though it was spoiled")


def _decode(path: Path, settings: Params) -> str:
    """Decode and compute as a worker does; what is wrong with the values, or ""."""
    view = settings.spectrograms["mel"]
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = waveform_blocks(path, view.sample_rate_hz, lead=room(view))
        finite = [bool(np.isfinite(values).all()) for values in spectrogram_blocks(blocks, view)]
    return "" if all(finite) else "accepted with values that are not finite"


def main(seed: int, first: int, last: int, folder: Path) -> None:
    """Judge the files of these numbers, one line of JSON each."""
    bases, settings = base_files(), params.load(ROOT / "params.yaml")
    for number in range(first, last):
        signal.alarm(DEADLINE_S)
        spoiled = nth_mutant(bases, seed, number)
        code, failure = judge(spoiled, folder / "spoiled.ogg", settings)
        told = {"number": number, "kind": f"{spoiled.base} {spoiled.kind}", "mended": spoiled.mended, "code": code}
        print(json.dumps({**told, "failure": failure}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
