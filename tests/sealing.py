"""Parts of known codes, put into a pool without decoding anything."""

from __future__ import annotations

from collections.abc import Sequence

from cache.pool import Pool, PooledPart
from cache.quantize import QuantizedArray
from cache.shard import Layout


def add_part(pool: Pool, layout: Layout, keys: Sequence[str], quantized: Sequence[QuantizedArray]) -> PooledPart:
    """Put one part into a pool: its recordings' keys, and the codes (T, M) of each."""
    with pool.new_part(layout) as part_writer:
        for key, rows in zip(keys, quantized, strict=True):
            with part_writer.recording(key) as writer:
                writer.append(rows)
        return pool.publish(part_writer)
