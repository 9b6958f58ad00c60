"""The one exception of this package."""

from errors import BirdcacheError


class StoreError(BirdcacheError):
    """A spectrogram store or its pool is unusable."""
