"""Tiny committed stores, recipes and members that the trainer's tests share. Nothing here decodes audio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView, PcenView
from birdcache.storage import AnyPath
from cache.keys import content_key, part_name, view_digest
from cache.quantize import Quantizer
from cache.remote_pool import open_pool
from cache.shard import Layout
from cache.store import Store
from cache.store_writer import NamedPart, commit_store
from tests.fixtures.parts import add_part
from train.data.examples import Examples
from train.data.member import ResolvedMember

MEL_BINS, CLIP_FRAMES = 32, 40
PARTS_BITS = 1  # two parts, so that recordings lie on both sides of a border
OFF = {"mel_masks": 0, "mel_width": 4, "time_masks": 0, "time_width": 8, "probability": 1.0}

Values = Sequence[npt.NDArray[np.float32]]


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's own params.yaml."""
    return parameters.load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(scope="session")
def view(params: Params) -> MelView:
    """The project's mel view with 32 mel bins."""
    view = next(view for view in params.views.values() if isinstance(view, MelView))
    return view.model_copy(update={"n_mels": MEL_BINS})


@pytest.fixture(scope="session")
def pcen_view(params: Params) -> PcenView:
    """The project's PCEN view with 32 mel bins."""
    view = next(view for view in params.views.values() if isinstance(view, PcenView))
    return view.model_copy(update={"n_mels": MEL_BINS})


@pytest.fixture(scope="session")
def recipe(params: Params, view: MelView) -> Recipe:
    """A recipe without any augmentation, on clips of 40 frames; tests change it with `params.resolve_recipe`."""
    return resolve_recipe(
        next(iter(params.train.values())),
        {
            "epochs": 2,
            "batch_size": 4,
            "clip_s": CLIP_FRAMES * view.hop / view.sample_rate_hz,
            "short": "pad",
            "dynamic_range_db": 0.0,
            "normalise": "none",
            "precision": "float32",
            "weights": "last",
            "sampling": {"clips_per_epoch": None, "weighted": False},
            "secondary": {"policy": "ignore"},
            "loss": {"kind": "ce", "label_smoothing": 0.0},
            "augment": {
                "gain_db": 0.0,
                "time_shift_s": 0.0,
                "mixup": {"probability": 0.0, "labels": "lambda"},
                "sumix": {"probability": 0.0},
                "cutmix": {"probability": 0.0},
                "eq": {"probability": 0.0},
                "background": {"probability": 0.0},
                "noise": {"probability": 0.0},
                "spec_augment": OFF,
            },
            "optimiser": {"kind": "adamw", "lr": 3e-3, "warmup_epochs": 0.0, "schedule": "constant"},
        },
    )


@pytest.fixture(scope="session")
def member(params: Params) -> Member:
    """A member with the smallest of timm's test models, without dropout."""
    plain = next(iter(params.members.values()))
    changes = {"backbone": "test_efficientnet", "pretrained": False, "dropout": 0.0, "drop_path": 0.0}
    return plain.model_copy(update=changes)


@pytest.fixture(scope="session")
def resolved(member: Member, recipe: Recipe, view: MelView) -> ResolvedMember:
    """The member as stage `member` leaves it."""
    return ResolvedMember(
        name="tiny", member=member, recipe=recipe, view=view, store_digest="0" * 64, weights_sha256=None
    )


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    """The device of all tests."""
    return torch.device("cpu")


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    """A function that commits recordings (T, M) to a store of two parts; audio SHA-256s count from 0.

    It packs them as the view says; with `pool` the parts go there, and stay there if that is a URL.
    """

    def make(values: Values, view: MelView | PcenView, pool: AnyPath | None = None) -> Store:
        folder = tmp_path_factory.mktemp("store")
        digest = view_digest(view, 1, "none")
        quantizer = Quantizer(view.dtype, *((-100.0, 40.0) if isinstance(view, MelView) else (0.0, 50.0)))
        opened, parts = open_pool(pool or folder / "pool", digest), defaultdict[str, list[tuple[str, int]]](list)
        for number in range(len(values)):
            key = content_key(audio_sha256(number), digest)
            parts[part_name(key, PARTS_BITS)].append((key, number))
        named = []
        for name, pairs in sorted(parts.items()):
            keys, numbers = zip(*sorted(pairs), strict=True)
            part = add_part(
                opened, Layout.of(view, quantizer), keys, [quantizer.encode(values[number]) for number in numbers]
            )
            named.append(NamedPart(name, part, tuple(audio_sha256(number) for number in numbers)))
        commit_store(folder / "tiny.zarr", view, digest, quantizer, named)
        return Store(folder / "tiny.zarr", view)

    return make


@pytest.fixture(scope="session")
def random_store(make_store: Callable[..., Store]) -> Callable[[tuple[int, ...], MelView | PcenView], Store]:
    """A function that commits random recordings of the given lengths in frames; the same ones once."""
    made: dict[str, Store] = {}

    def make(lengths: tuple[int, ...], view: MelView | PcenView) -> Store:
        name = f"{lengths} {view.model_dump_json()}"
        if name not in made:
            rng = np.random.default_rng(7)
            lowest, highest = (-100, 40) if isinstance(view, MelView) else (0, 50)
            values = [rng.uniform(lowest, highest, (frames, view.n_mels)).astype(np.float32) for frames in lengths]
            made[name] = make_store(values, view)
        return made[name]

    return make


@pytest.fixture(scope="session")
def examples_of() -> Callable[..., Examples]:
    """A function that makes a store's recordings, in order of their audio, examples of the given classes."""

    def make(
        store: Store,
        primary: Sequence[int],
        secondary: Sequence[tuple[int, int]] = (),
        rating: Sequence[float] | None = None,
    ) -> Examples:
        rows = store.rows_of([audio_sha256(number) for number in range(len(primary))])
        labels = tuple(f"bird{number}" for number in range(max(primary) + 1))
        secondary_NK = np.zeros((len(primary), len(labels)), bool)
        for number, label in secondary:
            secondary_NK[number, label] = True
        names = tuple(f"XC{number}.ogg" for number in range(len(primary)))
        spans = (np.zeros_like(rows), store.frames[rows])
        stars = np.zeros(len(primary)) if rating is None else np.array(rating, np.float64)
        return Examples(labels, names, rows, store.part[rows], *spans, np.array(primary, np.int64), secondary_NK, stars)

    return make


def audio_sha256(number: int) -> str:
    """What stands for the SHA-256 of recording `number`'s audio."""
    return f"{number:064x}"
