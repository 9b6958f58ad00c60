"""Parts of known codes, put into a pool without decoding anything."""

from __future__ import annotations

from collections.abc import Sequence

from cache.pool import Pool, PooledPart
from cache.quantize import Codes
from cache.shard import Layout


def add_part(pool: Pool, layout: Layout, keys: Sequence[str], codes: Sequence[Codes]) -> PooledPart:
    """Put one part into a pool: its recordings' keys, and the codes (T, M) of each."""
    with pool.draft(layout) as draft:
        for key, rows in zip(keys, codes, strict=True):
            with draft.recording(key) as writer:
                writer.append(rows)
        return pool.publish(draft)
