"""Scores of files that are finished, kept one by one: a run that was ended goes on with the next file."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdcache.files import sha256_hex, write_durably
from birdcache.predict.predictor import FileScores


@dataclass(frozen=True)
class Results:
    """A folder with a file for each recording that was scored, named by what decides its content.

    Attributes
    ----------
    digest
        Of everything besides the recording that decides the scores.
    """

    folder: Path
    digest: str

    def path(self, sha256: str) -> Path:
        """The path of the scores of a recording with this content."""
        return self.folder / f"{sha256_hex(f'{sha256} {self.digest}'.encode())[:32]}.npz"

    def write(self, sha256: str, scores: FileScores) -> None:
        """Keep the scores of a recording: whole, or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        embedding = np.empty((0, 0), np.float32) if scores.embedding is None else scores.embedding
        content = io.BytesIO()
        np.savez(content, duration_s=np.array(scores.duration_s), members=scores.members, embedding=embedding)
        write_durably(self.path(sha256), content.getvalue())

    def read(self, sha256: str, embed: bool) -> FileScores | None:
        """Scores that were kept; None if there are none, they are damaged, or features are wanted and missing."""
        try:
            with self.path(sha256).open("rb") as file, np.load(file, allow_pickle=False) as content:
                embedding = content["embedding"] if content["embedding"].size else None
                found = FileScores(float(content["duration_s"]), content["members"], embedding)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return None if embed and found.embedding is None else found
