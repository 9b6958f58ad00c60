"""A teacher's store of random numbers, and teachers opened on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.params.embedding import Output, StoredEmbedding
from birdcache.params.recipe import Recipe
from birdcache.params.sections import MachineParams
from birdcache.params.teacher import TeacherParams
from cache.store import Store
from train.data.examples import Examples
from train.data.member import ResolvedMember
from train.data.teacher import Teacher, open_teacher

EMBEDDING, NAMES = 6, ("bird1", "owl", "Bird Zero")  # owl is none of our classes, which lack bird2
WINDOW_S, HOP_S = 0.5, 0.25


def teacher_view() -> StoredEmbedding:
    """What a teacher says of windows of half a second, one every quarter."""
    end = EMBEDDING + len(NAMES)
    outputs = (
        Output(name="embedding", start=0, stop=EMBEDDING, labels=()),
        Output(name="scores", start=EMBEDDING, stop=end, labels=NAMES),
    )
    return StoredEmbedding(
        kind="embedding",
        sample_rate_hz=32000,
        window_s=WINDOW_S,
        hop_s=HOP_S,
        file_sha256="0" * 64,
        outputs=outputs,
        samples=16000,
        lead=0,
        outside=0.0,
    )


def teacher_store(make_store: Callable[..., Store], own: Store, recordings: int) -> Store:
    """What it says of the first recordings of a store, in numbers from 0 to 1; it knows no others."""
    view, rng = teacher_view(), np.random.default_rng(3)
    rows = own.rows_of([f"{number:064x}" for number in range(recordings)])
    seconds = own.frames[rows] * own.view.hop / own.view.sample_rate_hz
    counts = np.maximum(np.ceil((seconds - WINDOW_S) / HOP_S), 0).astype(int) + 1
    return make_store([rng.random((count, view.n_mels)).astype(np.float32) for count in counts], view)


def opened(
    monkeypatch: pytest.MonkeyPatch,
    stores: Sequence[Store],
    own: Sequence[Store],
    examples: Examples,
    resolved: ResolvedMember,
    recipe: Recipe,
    machine: MachineParams,
    device: torch.device,
    **keys: Any,
) -> Teacher:
    """A teacher with these keys; its stores are of recordings and perhaps of soundscapes."""
    monkeypatch.setattr("train.data.teacher.store_path", lambda view, soundscapes: stores[soundscapes].path)
    params = TeacherParams.model_validate({"view": "birds", **keys})
    changes = {"member": resolved.member.model_copy(update={"teacher": params}), "recipe": recipe}
    member = resolved.model_copy(update={**changes, "teacher_digest": stores[0].digest})
    teacher = open_teacher(member, own, examples, machine, device)
    assert teacher is not None
    return teacher
