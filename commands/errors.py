"""The one exception of this package."""

from errors import BirdcacheError


class CommandError(BirdcacheError):
    """A command was asked for something that cannot be done."""
