"""Building a store beside BriteKit's extraction of spectrograms from the same files, in turns, a thread each.

BriteKit need not be installed here: --britekit names a Python that has it. Without --folder the files are songs of 5 s
at 44.1 kHz and of 30 s at 32 kHz. Imports and the first file, which loads what comes late, are not counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import building, songs
from benchmarks.timing import SHIPPED, best, interleaved, parser_of, report
from birdcache.params import load as params
from pipeline.builder.plan import Source

EXTRACT = """
import sys, tempfile, time, torch
from pathlib import Path
from britekit.training_db.extractor import Extractor
from britekit.training_db.training_db import TrainingDatabase

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder, TrainingDatabase(str(Path(folder, "t.db"))) as database:
    Extractor(database, "first").extract_all(sys.argv[1], max_rec=1)
    begin = time.perf_counter()
    specs = Extractor(database, "bird").extract_all(sys.argv[1])
    print(specs, time.perf_counter() - begin)
"""


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.folder is not None:
            sets = {"folder": songs.listed(sorted(arguments.folder.rglob("*.ogg")))}
        else:
            sets = {
                "5s": songs.write_many(folder / "short", 200, 5, 44100),
                "30s": songs.write_many(folder / "long", 60, 30, 32000),
            }
        numbers: dict[str, float] = {}
        for which, sources in sets.items():
            numbers |= compare(folder, sources, which, arguments)
    report(numbers, arguments.json)


def compare(folder: Path, sources: Sequence[Source], which: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Rates of both as multiples of real time, and how many times as fast the build is; best round each."""
    view, flat = params.load(SHIPPED).spectrograms["mel"], folder / f"flat-{which}"
    flat.mkdir()
    for source in sources:
        path = Path(source.path).absolute()
        (flat / f"{path.parent.name}-{path.name}").symlink_to(path)
    theirs: list[float] = []

    def build() -> float:
        pool = folder / "pool"
        if pool.exists():
            pool.rename(folder / f"pool-{which}-{len(theirs)}")
        return building.seconds_of(folder, sources, view, 1)[0]

    ours = interleaved(
        {"build": build, "extract": lambda: theirs.append(extract(arguments.britekit, flat))}, arguments.rounds
    )["build"]
    seconds = sum(source.duration_s for source in sources)
    return {
        f"build_x_realtime_{which}": seconds / best(ours),
        f"britekit_x_realtime_{which}": seconds / best(theirs),
        f"build_vs_britekit_{which}": best(theirs) / best(ours),
    }


def extract(python: str, folder: Path) -> float:
    """Seconds that BriteKit takes for a folder, once its libraries are loaded."""
    done = subprocess.run([python, "-c", EXTRACT, str(folder)], check=True, capture_output=True, text=True)
    spectrograms, seconds = done.stdout.split()[-2:]
    if int(spectrograms) == 0:
        raise SystemExit(f"BriteKit extracts nothing from {folder}")
    return float(seconds)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--britekit", default=sys.executable, metavar="PYTHON", help="a Python with BriteKit")
    parser.add_argument("--folder", type=Path, help="of Ogg files; default: songs that are written for this")
    arguments = parser.parse_args()
    if subprocess.run([arguments.britekit, "-c", "import britekit"], capture_output=True).returncode:
        parser.error(f"{arguments.britekit} has no BriteKit; install it there, or name another Python by --britekit")
    return arguments


if __name__ == "__main__":
    main()
