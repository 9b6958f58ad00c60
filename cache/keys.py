"""Names that follow from content: a recording's key, a view's digest, a part's place and address."""

import math
from collections.abc import Sequence

from birdcache.files import canonical_json, sha256_hex
from birdcache.params.views import StoredView

LAYOUT_VERSION = 1  # of parts on disk
PART_BYTES = 32 * 2**20  # wanted size of a part: large enough for DVC, small enough to share out among workers
FEWEST_PART_BITS, MOST_PART_BITS = 4, 12


def view_digest(view: StoredView, frontend_version: int | str, decoder_version: str) -> str:
    """Digest of everything but the audio that decides a store's bytes."""
    versions = {"layout": LAYOUT_VERSION, "frontend": frontend_version, "decoder": decoder_version}
    return sha256_hex(canonical_json({"view": view.model_dump(), "versions": versions}))


def content_key(audio_sha256: str, digest: str, silence: bool = False, read_as: str = "") -> str:
    """Key of one recording under one view: 64 hexadecimal digits.

    It is another one if it was taken although it is silent, or `birdcache.audio.read.AudioInfo.read_as` says something:
    so a pool of an older version has nothing under the keys of what is read otherwise now, and all else.
    """
    mark = (b"silence" if silence else b"") + read_as.encode()
    return sha256_hex(bytes.fromhex(audio_sha256) + bytes.fromhex(digest) + mark)


def part_bits(total_bytes: float) -> int:
    """Number of leading bits of a key that name its part: 16 parts at least, then parts of about 32 MiB."""
    wanted = math.ceil(math.log2(max(total_bytes / PART_BYTES, 1)))
    return min(max(wanted, FEWEST_PART_BITS), MOST_PART_BITS)


def part_name(key: str, bits: int) -> str:
    """Name of the part that a key belongs to: its leading bits, as hexadecimal digits."""
    digits = -(-bits // 4)
    return f"{int(key[:8], 16) >> (32 - bits):0{digits}x}"


def part_address(keys: Sequence[str]) -> str:
    """Address of a finished part in the pool: a digest of its recordings' keys in order."""
    return sha256_hex(canonical_json({"layout": LAYOUT_VERSION, "keys": list(keys)}))
