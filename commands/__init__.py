"""Commands of a checkout, prepared for torch as stages are: some import it before anything of `train`."""

from birdcache.process import prepare_for_torch

prepare_for_torch()
