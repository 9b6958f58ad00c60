"""The one place that makes template environments: values are escaped whatever a template's file is called."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def environment(folder: Path) -> Environment:
    """Templates of a folder: values are escaped, and missing names are errors.

    By default, Jinja escapes nothing, and Flask goes by the ending: .html is escaped, .html.j2 is not.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
