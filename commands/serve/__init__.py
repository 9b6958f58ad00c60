"""`birdcache serve`: a page in the browser that shows and plays what a model hears in a recording."""

from commands.serve.server import run

__all__ = ["run"]
