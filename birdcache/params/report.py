"""What stage `report` shows, and how large its page may become. Section `report` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from birdcache.params.base import Section


class ReportParams(Section):
    """How much of the results goes into reports/report.html (docs/report.md)."""

    budget_mb: Annotated[float, Field(ge=1, le=100)]
    clips: Annotated[int, Field(ge=0, le=100)]
    gallery: Annotated[int, Field(ge=0, le=50)]
    clip_s: Annotated[float, Field(ge=1, le=60)]
    soundscapes: Annotated[int, Field(ge=0, le=50)]
    soundscape_s: Annotated[float, Field(ge=5, le=600)]
    resamples: Annotated[int, Field(ge=20, le=10000)]
