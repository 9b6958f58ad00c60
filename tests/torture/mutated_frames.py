"""Trial: spoiled FLAC, MP3 (with and without tables) and WAV files go the way of a recording into a store.

Lengths are compared with an independent count of frames. A child process reads them, as in `mutated_ogg`.
Run `python -m tests.torture.mutated_frames SEED FIRST LAST FOLDER` as that does.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from birdcache.audio.read import waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.params import load as params
from birdcache.params.sections import DataParams
from pipeline.dataset.scan import scan_file
from tests.fixtures.mpeg import APE, ID3V1, ID3V2, mp3, noisy, split_table, written
from tests.torture.frame_counts import flac_samples, mp3_samples, wav_samples
from tests.torture.mutated_ogg import DEADLINE_S, ROOT, verdicts
from tests.torture.outcome import Outcome

MODULE = "tests.torture.mutated_frames"
Rng = np.random.Generator
AROUND = (b"\0" * 600, ID3V1, APE + ID3V1, b"no sound" * 90)
BEFORE = (b"\0" * 600, ID3V2, ID3V2 + ID3V2)
HEADER_BYTES = 64
NOTED = 2 * 1152  # samples: of a file that is noted, a first frame that is broken may count or not


GROUPS = (  # tried equally often
    ("flac", "stereo flac"),
    ("vbr mp3", "cbr mp3"),
    ("vbr mp3 without table", "cbr mp3 without table", "abr mp3 without table"),
    ("wav",),
)


class Base(NamedTuple):
    """A good file, and the independent count of its samples."""

    content: bytes
    lengths: Callable[[bytes], set[int]]


def base_files() -> dict[str, Base]:
    """Files of about a second, of each kind and in one and two channels."""
    vbr, cbr, low = mp3(1, 32_000), mp3(1, 44_100, 2, "CONSTANT"), mp3(1, 16_000, 1, "AVERAGE")
    return {
        "flac": Base(written(noisy(1, 32_000), 32_000, "FLAC"), flac_samples),
        "stereo flac": Base(written(noisy(1, 44_100, 2), 44_100, "FLAC"), flac_samples),
        "vbr mp3": Base(vbr, mp3_samples),
        "cbr mp3": Base(cbr, mp3_samples),
        "vbr mp3 without table": Base(split_table(vbr)[1], mp3_samples),
        "cbr mp3 without table": Base(split_table(cbr)[1], mp3_samples),
        "abr mp3 without table": Base(split_table(low)[1], mp3_samples),
        "wav": Base(written(noisy(1, 32_000), 32_000, "WAV", subtype="PCM_16"), wav_samples),
    }


def trial(tried: int = 40_000, seed: int = 1) -> Outcome:
    """Read so many spoiled files; failures are crashes, missed deadlines, bugs, whole sound refused, wrong lengths."""
    codes: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for verdict in verdicts(tried, seed, Path(folder), MODULE):
            codes[verdict["code"]] += 1
            if verdict["failure"]:
                failures.append(f"{verdict['number']} {verdict['kind']}: {verdict['failure']}")
    counts = ", ".join(f"{code} {count}" for code, count in codes.most_common())
    return Outcome("mutated frames", tried, len(failures), failures[0] if failures else "none", counts)


def _place(content: bytes, rng: Rng) -> int:
    return int(rng.integers(min(HEADER_BYTES, len(content)) if rng.random() < 0.3 else len(content)))


def flip(content: bytes, rng: Rng) -> bytes:
    """Flip one to five bits, often in the header."""
    spoiled = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        spoiled[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(spoiled)


def overwrite(content: bytes, rng: Rng) -> bytes:
    """Overwrite a run by noise or zeros."""
    place, length = _place(content, rng), int(2 ** rng.uniform(0, 12))
    run = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return content[:place] + run[: len(content) - place] + content[place + length :]


def cut_run(content: bytes, rng: Rng) -> bytes:
    """Leave out a run."""
    place = _place(content, rng)
    return content[:place] + content[place + int(2 ** rng.uniform(0, 13)) :]


def insert_run(content: bytes, rng: Rng) -> bytes:
    """Put a run of noise, or of the file itself, in between."""
    place, begin, length = _place(content, rng), _place(content, rng), int(2 ** rng.uniform(0, 13))
    run = rng.bytes(length) if rng.random() < 0.5 else content[begin : begin + length]
    return content[:place] + run + content[place:]


def cut_end(content: bytes, rng: Rng) -> bytes:
    """Leave out the end."""
    return content[: int(rng.integers(1, len(content)))]


def number(content: bytes, rng: Rng) -> bytes:
    """Put an extreme number into the header."""
    place, size = int(rng.integers(HEADER_BYTES)), int(rng.choice([1, 2, 4, 8]))
    value = (b"\0", b"\xff", b"\x7f")[int(rng.integers(3))] * size
    return content[:place] + value + content[place + size :]


def behind(content: bytes, rng: Rng) -> bytes:
    """Put something behind the sound."""
    return content + AROUND[int(rng.integers(len(AROUND)))]


def before(content: bytes, rng: Rng) -> bytes:
    """Put something in front of the sound."""
    return BEFORE[int(rng.integers(len(BEFORE)))] + content


HARMLESS = (behind, before)
KINDS = (flip, overwrite, cut_run, insert_run, cut_end, number, *HARMLESS)


def judge(base: Base, spoiled: bytes, harmless: bool, path: Path, data: DataParams) -> tuple[str, str]:
    """The code under which the file is refused, or `accepted`; and what is wrong with that, or ""."""
    path.write_bytes(spoiled)
    scan = scan_file(path, data)
    if scan.code:
        failure = "is refused though its sound is whole" if harmless else ""
        return scan.code, f"a bug: {scan.detail}" if scan.code == "unexpected" else failure
    try:
        samples_S = np.concatenate(list(waveform_blocks(path, None, scan.sha256, silence=True)))
    except RejectedAudio as rejected:
        return rejected.code, "is refused though its sound is whole" if harmless else ""
    if not np.isfinite(samples_S).all():
        return "accepted", "accepted with samples that are not finite"
    if abs(scan.duration_s * scan.sample_rate_hz - len(samples_S)) > 0.5:
        return "accepted", f"its table will say {scan.duration_s} s, but {len(samples_S)} samples decode"
    counted = base.lengths(base.content if harmless else spoiled)
    near = NOTED if scan.notes and not harmless else 0
    is_right = any(abs(len(samples_S) - count) <= near for count in counted)
    return "accepted", "" if is_right else f"{len(samples_S)} samples decode, counted: {counted}"


def main(seed: int, first: int, last: int, folder: Path) -> None:
    """Judge the files of these numbers, one line of JSON each."""
    data = params.load(ROOT / "params.yaml").data.model_copy(update={"shortest_s": 1e-6, "no_end": "accept"})
    bases = base_files()
    for each in range(first, last):
        signal.alarm(DEADLINE_S)
        rng = np.random.default_rng((seed, each))
        group = GROUPS[each % len(GROUPS)]
        name = group[each // len(GROUPS) % len(group)]
        kind = KINDS[int(rng.integers(len(KINDS)))]
        base = bases[name]
        code, failure = judge(base, kind(base.content, rng), kind in HARMLESS, folder / "spoiled", data)
        told = {"number": each, "kind": f"{name} {kind.__name__}", "mended": False, "code": code, "failure": failure}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
