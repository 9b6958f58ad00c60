"""Files a second of stage `recordings`: all headers and hashes, and the search for files that hold the same sound.

Every audio file of the named folders is taken; by default the demo's, or else copies of one sound, made here. The first
numbers are those of a new process, which starts its decoders; `again` is the best of the rounds after it. `floor` is
the speed at which one thread reads and hashes the same bytes, without looking at them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import songs
from benchmarks.scale import timed
from benchmarks.timing import SHIPPED, best, interleaved, parser_of, report
from birdcache.audio.suffixes import is_recording
from birdcache.params import load as params
from cache.tables import Col
from pipeline.dataset.duplicates import same_sounds
from pipeline.dataset.scan import scan_files

DEMO = Path("data/demo")
MADE, MADE_S, RATE_HZ = 400, 5, 44100


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="folders of audio files")
    parser.add_argument("--workers", type=int, default=0, help="decoders; 0 = one per core")
    arguments = parser.parse_args()
    with files_of(arguments.folders or [DEMO]) as files:
        report(measure(files, arguments.workers, arguments.rounds), arguments.json)


@contextlib.contextmanager
def files_of(folders: Sequence[Path]) -> Iterator[list[str]]:
    """All audio files of the folders; some that are made for it if there are none."""
    found = sorted(str(path) for folder in folders for path in folder.rglob("*") if is_recording(path))
    with tempfile.TemporaryDirectory() as folder:
        yield found or [each.path for each in songs.write_many(Path(folder) / "songs", MADE, MADE_S, RATE_HZ)]


def measure(files: Sequence[str], workers: int, rounds: int) -> dict[str, float]:
    """Files a second of each step, by name."""
    settings = params.load(SHIPPED)
    machine = settings.machine.model_copy(update={"workers": workers})
    with contextlib.redirect_stderr(io.StringIO()):
        table, recordings_s = timed(lambda: scan_files(files, settings.data, machine, "benchmark"))
        good = table.assign(path=files)[table[Col.CODE] == ""]
        _, alike_s = timed(lambda: same_sounds(good, machine))
        arms = {
            "recordings": lambda: scan_files(files, settings.data, machine, "benchmark"),
            "alike": lambda: same_sounds(good, machine),
            "floor": lambda: [hashlib.sha256(Path(path).read_bytes()).digest() for path in files],
        }
        seconds = {name: best(each) for name, each in interleaved(arms, rounds).items()}
    again = {f"{name}_again_files_per_s": len(files) / each for name, each in seconds.items() if name != "floor"}
    return {
        "files": len(files),
        "recordings_files_per_s": len(files) / recordings_s,
        "alike_files_per_s": len(good) / alike_s,
        **again,
        "floor_files_per_s": len(files) / seconds["floor"],
        "recordings_again_vs_floor": seconds["floor"] / seconds["recordings"],
    }


if __name__ == "__main__":
    main()
