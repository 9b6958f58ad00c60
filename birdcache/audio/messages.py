"""What parent and child say to each other: JSON behind its length."""

from __future__ import annotations

import json
import struct
from typing import Any

LENGTH = struct.Struct("<I")

Message = dict[str, Any]


def packed(message: Message) -> bytes:
    """A message as it goes through the pipe."""
    text = json.dumps(message).encode()
    return LENGTH.pack(len(text)) + text
