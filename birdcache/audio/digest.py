"""A digest of a recording's samples: the same for the same sound in other files."""

from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np

from birdcache.audio.read import waveform_blocks
from birdcache.storage import AnyPath


def sound_sha256(
    path: AnyPath, sha256: str | None = None, blocks: int | None = None, read_as: str | None = None
) -> str:
    """SHA-256 of a recording's samples: its channels mixed to one at its own rate, as float32; -0 counts as 0.

    Parameters
    ----------
    sha256 : the file's bytes as they were seen before, or None to accept any.
    blocks : so many blocks of samples from its beginning, or None for all.
    read_as : as of `birdcache.audio.read.AudioInfo`, or None to find it out.
    """
    digest = hashlib.sha256()
    for block_S in islice(waveform_blocks(path, None, sha256, silence=True, read_as=read_as), blocks):
        digest.update((block_S + np.float32(0)).astype("<f4").tobytes())
    return digest.hexdigest()
