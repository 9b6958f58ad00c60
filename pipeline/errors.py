"""The one exception of this package."""

from errors import BirdcacheError, run_stage

__all__ = ["PipelineError", "run_stage"]


class PipelineError(BirdcacheError):
    """A data set, an audio file or a table is unusable."""
