"""What a trial gives back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How often something was tried and failed, the worst that happened, and the figures in words."""

    name: str
    tried: int
    failed: int
    worst: str
    figure: str
