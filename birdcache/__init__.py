"""Bird sounds: the command `birdcache`, and bundles of trained models in Python.

>>> import birdcache
>>> result = birdcache.load("birds.bundle").predict("recording.ogg")
>>> result.detections[0].label, result.scores.shape
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `import birdcache` alone imports none of what a bundle needs
    from os import PathLike

    from birdcache.bundle.api import LoadedBundle
    from birdcache.errors import BirdcacheError

    __version__: str

__all__ = ["BirdcacheError", "__version__", "load"]


def load(path: str | PathLike[str], device: str = "auto", window_s: float | None = None) -> LoadedBundle:
    """Open a bundle, the folder that stage `export` writes; every file is compared with its checksum.

    A BirdcacheError if it is no bundle or a damaged one, or the device cannot be used.

    Parameters
    ----------
    path : the folder, such as birds.bundle.
    device : auto, cpu or cuda; auto takes a GPU if the installed ONNX Runtime can use one.
    window_s : length of a detection in seconds; None = as the bundle was made.

    Returns
    -------
    A bundle, whose `predict` scores a recording.
    """
    from pathlib import Path

    from birdcache.bundle.api import LoadedBundle
    from birdcache.bundle.read import open_bundle
    from birdcache.bundle.scores import BundlePredictor

    return LoadedBundle(BundlePredictor(open_bundle(Path(path), device), window_s))


def __getattr__(name: str) -> Any:
    """Load `__version__` and `BirdcacheError` when they are asked for."""
    if name == "__version__":
        from birdcache.checkout import version

        return version()
    if name == "BirdcacheError":
        from birdcache.errors import BirdcacheError

        return BirdcacheError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
