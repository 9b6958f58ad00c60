"""The one exception of this package."""

from errors import BirdcacheError


class StoreError(BirdcacheError):
    """A spectrogram store, its pool, or the place that a URL names is unusable."""
