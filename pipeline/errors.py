"""The one exception of this package."""

from errors import BirdcacheError


class PipelineError(BirdcacheError):
    """A data set, an audio file or a table is unusable."""
