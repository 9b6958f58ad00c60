"""The one exception of this package."""

from errors import BirdcacheError


class TrainError(BirdcacheError):
    """A model cannot be built, trained or used as asked."""
