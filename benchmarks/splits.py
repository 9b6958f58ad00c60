"""Made-up labels with a long tail for a store of made-up values, and trainings on them with shipped recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from birdcache.params.model import Params
from birdcache.params.recipe import resolve_recipe
from cache.store import Store
from train.data.examples import Examples
from train.data.frames import Frames
from train.data.member import ResolvedMember
from train.loop.distributed import ALONE
from train.loop.split import TrainingSplit

CLASSES = 206
TAIL = 1.1  # exponent of the classes' sizes: of 28,000 recordings from 1,500 down to 5


def made_up_split(
    store: Store,
    frames: Frames,
    params: Params,
    device: torch.device,
    changes: Mapping[str, Any],
    backbone: str | None = None,
) -> TrainingSplit:
    """Member `base` with changes of its recipe, trained and validated on all of a store."""
    member = params.members["base"]
    member = member.model_copy(update={"pretrained": False, "backbone": backbone or member.backbone})
    recipe = resolve_recipe(params.recipe_of("base"), changes)
    resolved = ResolvedMember(
        name="base", member=member, recipe=recipe, view=store.view, store_digest=store.digest, weights_sha256=None
    )
    examples = labelled(store)
    return TrainingSplit(resolved, 0, examples, examples, frames, device, ALONE)


def labelled(store: Store) -> Examples:
    """The recordings of a store with made-up labels: the largest of 206 classes has hundreds of times the smallest."""
    count = len(store)
    weights = np.arange(1, CLASSES + 1) ** -TAIL
    primary = np.random.default_rng(5).choice(CLASSES, count, p=weights / weights.sum())
    labels = tuple(f"bird{number}" for number in range(CLASSES))
    names, rows = tuple(f"XC{number}.ogg" for number in range(count)), np.arange(count)
    secondary = np.zeros((count, CLASSES), bool)
    first, rating = np.zeros(count, np.int64), np.zeros(count)
    return Examples(labels, names, rows, store.part[rows], first, store.frames[rows], primary, secondary, rating)
