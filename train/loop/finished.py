"""Finished trainings are kept for a while, so that a change which is undone trains nothing again.

DVC's own cache of runs leaves out stages whose outs are `persist: true`, as those of trainings are.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from birdcache.files import checksummed_json, file_sha256, verified_json, write_durably

KEPT = 3  # trainings of a place, the newest ones
FILES = "files.json"  # written last: a digest of each file


@dataclass(frozen=True)
class FinishedTraining:
    """What a training left: a copy of each of its folders, by hard links where the disk has them."""

    folder: Path  # <root>/<place>/<key of the training>
    results: Mapping[str, Path]  # a name for each folder of results

    def keep(self) -> None:
        """Keep the results, and of this place only the newest."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, folder in self.results.items():
            shutil.copytree(folder, self.folder / name, copy_function=_share)
        kept = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
        digests = {file.relative_to(self.folder).as_posix(): file_sha256(file) for file in kept}
        write_durably(self.folder / FILES, checksummed_json(digests))
        places = sorted(self.folder.parent.glob(f"*/{FILES}"), key=lambda path: -path.stat().st_mtime_ns)
        for old in places[KEPT:]:
            shutil.rmtree(old.parent, ignore_errors=True)

    def is_intact(self) -> bool:
        """True if this training was kept, and no byte of it has changed."""
        try:
            digests = verified_json((self.folder / FILES).read_bytes())
            return all(file_sha256(self.folder / name) == digest for name, digest in digests.items())
        except (OSError, ValueError):
            return False

    def restore(self) -> None:
        """Put the results back into their folders, which are empty."""
        for name, folder in self.results.items():
            shutil.copytree(self.folder / name, folder, copy_function=_share, dirs_exist_ok=True)


def _share(file: str, target: str) -> None:
    """One file under two names where the disk has hard links, else a copy. Nothing writes into such files."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
