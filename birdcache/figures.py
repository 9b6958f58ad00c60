"""The style of every picture: a matplotlib figure without global state, saved as a PNG that repeats byte for byte."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from birdcache.files import write_durably

STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.alpha": 0.3,
    "savefig.dpi": 150,
}
BLUE, ORANGE, GREEN, GREY = "#3b6fb6", "#e07b39", "#4f9d69", "#9aa0a6"


@contextmanager
def figure(path: Path, width: float = 8.0, height: float = 4.5) -> Iterator[Figure]:
    """Draw into the figure; it is saved to `path` as PNG at the end (sizes in inches)."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn
        content = io.BytesIO()
        drawn.savefig(content, format="png", metadata={"Software": None})
        write_durably(path, content.getvalue())
