"""Measurements, in processes that are prepared for torch as those of stages are."""

from birdcache.process import prepare_for_torch

prepare_for_torch()
