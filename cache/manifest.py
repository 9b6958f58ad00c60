"""The manifest of a store: what it holds, for which view, and the size and SHA-256 of each of its files.

It is written last, so a store without one is unfinished. It holds no time, host or absolute path: the same recordings
and view give the same bytes. Its key `sha256` is that of all its other keys.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from birdcache.errors import StoreError
from birdcache.files import canonical_json, sha256_hex
from birdcache.params.views import View
from cache.corruption import Corruption, refusal
from cache.quantize import Quantizer

NAME = "manifest.json"
VERSION: Literal[1] = 1
INDEX_AUDIO, INDEX_SPANS = "index/audio_sha256", "index/spans"


class Strict(BaseModel):
    """Frozen, and nothing but the known keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileEntry(Strict):
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


class PartEntry(Strict):
    """One part: its name (the leading bits of its recordings' keys), its frames, its files."""

    name: str
    frames: int
    files: dict[str, FileEntry]


class QuantizerEntry(Strict):
    """The codec's dtype and range."""

    dtype: Literal["float16", "uint8"]
    low: float
    high: float


class Manifest(Strict):
    """All that a reader must know before it trusts a store; `files` names what is outside the parts."""

    version: Literal[1]
    view: View
    view_digest: str
    codec: QuantizerEntry
    recordings: int
    frames: int
    parts: list[PartEntry]
    files: dict[str, FileEntry]

    def to_quantizer(self) -> Quantizer:
        """The codec of the store's codes."""
        return Quantizer(self.codec.dtype, self.codec.low, self.codec.high)

    def to_bytes(self) -> bytes:
        """The manifest's file content."""
        return _signed(self.model_dump())


def read_manifest(store: Path) -> Manifest:
    """Read a store's manifest.

    Raises
    ------
    StoreError
        If it is missing (an unfinished store), damaged, or not a manifest of this version.
    """
    path = store / NAME
    try:
        return Manifest.model_validate(_intact_content(path))
    except FileNotFoundError:
        raise StoreError(
            f"{store}: has no {NAME}, so it is unfinished or no store; run `dvc repro`, which builds it"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise refusal(
            Corruption(path, f"{key}: {first['msg']}: it is of another version than this code reads")
        ) from None


def _intact_content(path: Path) -> dict[str, Any]:
    """The manifest's keys but `sha256`, which they are compared with."""
    written = path.read_bytes()
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        content: dict[str, Any] = json.loads(written)
        del content["sha256"]
        if written == _signed(content):
            return content
    raise refusal(Corruption(path, "is damaged or of another version, so nothing in its store can be trusted"))


def _signed(content: dict[str, Any]) -> bytes:
    """The file's bytes: canonical, so that each content has one spelling only."""
    return canonical_json({**content, "sha256": sha256_hex(canonical_json(content))}) + b"\n"
