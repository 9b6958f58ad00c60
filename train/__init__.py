"""The device side. Importing any of it prepares this process for torch, before a module of it imports torch."""

from birdcache.process import prepare_for_torch

prepare_for_torch()
