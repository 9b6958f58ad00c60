"""Scores of files that are finished, kept one by one: a run that was ended goes on with the next file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdcache.errors import TrainError
from birdcache.files import sha256_hex
from birdcache.npz import read_npz, write_npz
from birdcache.predict.checked import check_scores
from birdcache.predict.predictor import FileScores

KINDS = {"duration_s": "f0", "members": "f3", "embedding": "f2"}


@dataclass(frozen=True)
class Results:
    """A folder with a file for each recording that was scored, named by what decides its content."""

    folder: Path
    digest: str  # of everything besides the recording that decides the scores

    def path(self, sha256: str) -> Path:
        """The path of the scores of a recording with this content."""
        return self.folder / f"{sha256_hex(f'{sha256} {self.digest}'.encode())[:32]}.npz"

    def write(self, sha256: str, scores: FileScores) -> None:
        """Keep the scores of a recording: whole, or not at all."""
        embedding = np.empty((0, 0), np.float32) if scores.embedding is None else scores.embedding
        arrays = {"duration_s": np.array(scores.duration_s), "members": scores.members, "embedding": embedding}
        write_npz(self.path(sha256), arrays)

    def read(self, sha256: str, embed: bool) -> FileScores | None:
        """Scores that were kept; None if there are none, they are damaged, or features are wanted and missing.

        Those that are no numbers, which older versions kept, are made again, and then refused.
        """
        try:
            content = read_npz(self.path(sha256), KINDS, "")
            check_scores(content["members"], self.folder, str, axis=1)
        except TrainError:
            return None
        embedding = content["embedding"] if content["embedding"].size else None
        found = FileScores(float(content["duration_s"]), content["members"], embedding)
        return None if embed and found.embedding is None else found
