"""Trial: files cut at every 61st byte; each cut is refused, with the right code."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from birdcache.params import load as params
from pipeline.dataset.scan import scan_file
from tests.fixtures.mpeg import mp3, noisy, written
from tests.torture.ogg_files import base_files, page_ends
from tests.torture.outcome import Outcome

ROOT = Path(__file__).parents[2]
STEP_BYTES = 61
HEADER_PAGES = 2


def trial(tried: int = 0) -> Outcome:
    """Cut each file so often, evenly spread, the pages' ends among Ogg files' cuts, and scan what is left.

    Parameters
    ----------
    tried : how many cuts of each file; 0 is one at every 61st byte.
    """
    data = params.load(ROOT / "params.yaml").data
    codes: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, content in _files(Path(folder)).items():
            ends = page_ends(content) if name.endswith(".ogg") else []
            step = max(1, len(content) // tried) if tried else STEP_BYTES
            for size in sorted({*range(0, len(content), step), *ends[:-1]}):
                path = Path(folder) / name
                path.write_bytes(content[:size])
                code = scan_file(path, data).code
                codes[code or "accepted"] += 1
                if code != expected_code(size, ends):
                    failures.append(f"{name} cut at {size}: {code or 'accepted'}")
    counts = ", ".join(f"{code} {count}" for code, count in codes.most_common())
    return Outcome("truncation", codes.total(), len(failures), failures[0] if failures else "none", counts)


def expected_code(size: int, ends: list[int]) -> str:
    """A cut between two pages of sound leaves intact pages, of which nobody can tell if they are all."""
    if size == 0:
        return "empty"
    return "no-end" if size in ends[HEADER_PAGES:] else "truncated"


def _files(folder: Path) -> dict[str, bytes]:
    files = base_files()
    path = folder / "tone.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(32_000) / 5), 32_000, subtype="PCM_16")
    return files | {
        path.name: path.read_bytes(),
        "tone.flac": written(noisy(1, 32_000), 32_000, "FLAC"),
        "tone.mp3": mp3(1, 32_000),
    }
