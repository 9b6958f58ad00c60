"""Random clips of a store, all of them inside their recordings."""

from __future__ import annotations

import numpy as np

from cache.store import Store
from train.data.random import Ints

CLIP_FRAMES, BATCH = 313, 64  # 5 s at hop 512 and 32 kHz


def draw_batches(store: Store, count: int) -> list[tuple[Ints, Ints]]:
    """Batches of recordings (B,) and positions (B, T), as training plans them."""
    rng = np.random.default_rng(3)
    long_enough = np.flatnonzero(store.frames >= CLIP_FRAMES)
    batches = []
    for _ in range(count):
        row_B = rng.choice(long_enough, BATCH)
        start_B = rng.integers(0, store.frames[row_B] - CLIP_FRAMES + 1)
        batches.append((row_B, start_B[:, None] + np.arange(CLIP_FRAMES)))
    return batches
