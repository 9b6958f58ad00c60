"""Charts as SVG elements of the page: drawn by matplotlib, with text as text and the page's own colours."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from birdcache.arrays import Bools, Floats32, Floats64
from birdcache.figures import STYLE

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
UNWANTED = {f"{{{SVG}}}metadata", f"{{{SVG}}}style"}  # the style would apply to the whole page
# for light and dark
COLOURS = ("#3b7dd8", "#e07b39", "#3f9d69", "#b15fb5", "#c9a227", "#d0505a", "#5aa9b5", "#8a8f98")
LONGEST_NAME = 26  # letters
LEVELS = 10  # shades of a heat map
NAMED_AT_MOST = 30  # classes with a bar or a row each; the names of more would be unreadable
INK, FAINT = "#010203", "#010204"  # placeholders for the page's ink and grid
IN_PAGE = {INK: "currentColor", FAINT: "var(--grid)"}
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


@dataclass
class Chart:
    """A chart: title, description in words, and, once drawn, markup."""

    id: str
    title: str
    alt: str
    svg: Markup = field(default=Markup(""))


def short(name: str) -> str:
    """A name shortened for a chart; tables show all of it."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


@contextmanager
def chart(drawn: Chart, height: float = 2.7) -> Iterator[Axes]:
    """Open a figure (height in inches) for drawing; afterwards the chart has its markup."""
    words = {"text.parse_math": False, "font.family": "sans-serif", "font.size": 9.5, "svg.fonttype": "none"}
    colours = dict.fromkeys(INKED, INK) | {"grid.color": FAINT, "grid.alpha": 1.0}
    with mpl.rc_context(STYLE | colours | words | {"svg.hashsalt": drawn.id}):
        figure = Figure(figsize=(4.0, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        yield axes
        axes.patch.set_visible(False)
        file = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    drawn.svg = in_page(file.getvalue(), drawn)


def in_page(svg: bytes, drawn: Chart) -> Markup:
    """Turn the drawing into an element of the page, with a name for screen readers, and ids where they are used.

    These are unique: they are hashes, with the chart's own as their salt.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in [each for each in parent if each.tag in UNWANTED]:
            parent.remove(child)
        parent.tail = None
    for each in root.iter():
        for key, value in each.attrib.items():
            each.set(key, _attribute(value))
    used = {name for each in root.iter() for value in each.attrib.values() for name in re.findall(r"#([\w-]+)", value)}
    for each in root.iter():
        if each.get("id") not in used:
            each.attrib.pop("id", None)
        if each.text and not each.text.strip():
            each.text = None
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": drawn.alt}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attribute(value: str) -> str:
    """Adapt an attribute of the drawing: the page's colours and font, short numbers."""
    for ours, in_the_page in IN_PAGE.items():
        value = value.replace(ours, in_the_page)
    value = re.sub(r"font-family: [^;]*; ?", "", value)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", value)


def shades(values_RC: Floats32 | Floats64) -> list[tuple[float, str]]:
    """A heat map: each level of values from 0 to 1 but 0, with the path of its cells, of R rows and C columns."""
    levels_RC = np.ceil(values_RC.clip(0, 1) * LEVELS)
    return [(level / LEVELS, path(levels_RC == level)) for level in np.unique(levels_RC[levels_RC > 0]).tolist()]


def path(is_RC: Bools, top: float = 0, height: float = 1) -> str:
    """An SVG path, in columns and rows: a rectangle over each run of cells, from `top` within its row."""
    edges_RC = np.diff(is_RC.astype(int), prepend=0, append=0)
    (rows, starts), (_, ends) = (np.nonzero(edges_RC == edge) for edge in (1, -1))
    runs = zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return "".join(f"M{start} {row + top:g}H{end}v{height:g}H{start}z" for row, start, end in runs)
