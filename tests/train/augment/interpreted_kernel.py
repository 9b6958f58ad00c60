"""A script for test_kernel.py: prints the largest differences between the interpreted kernel and torch, as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from birdcache.params import load as parameters
from birdcache.params.recipe import resolve_recipe
from birdcache.params.views import MelView, PcenView
from cache.quantize import Quantizer
from train.augment import kernel as kernel_module
from train.augment.batch import BatchTransform, StepInputs
from train.augment.kernel import Kernel
from train.augment.normalise import BinStatistics, Normaliser
from train.data.augment_draws import draw_effects, draw_mixtures
from train.data.batch_plan import BACKGROUND, CLIP, PARTNER, THIRD
from train.data.columns import mapped

B, BINS, STORED = 3, 12, 500
NEVER: dict[str, Any] = {"probability": 0.0}
ALL: dict[str, Any] = {
    "gain_db": 6.0,
    "time_shift_s": 0.3,
    "mixup": {"probability": 0.3},
    "sumix": {"probability": 0.2},
    "cutmix": {"probability": 0.3},
    "eq": {"probability": 0.5},
    "background": {"probability": 0.6},
    "noise": {"probability": 0.6},
    "spec_augment": {"mel_masks": 2, "mel_width": 4, "time_masks": 2, "time_width": 5, "probability": 0.7},
}
OFF: dict[str, Any] = {
    "gain_db": 0.0, "time_shift_s": 0.0, "mixup": NEVER, "sumix": NEVER, "cutmix": NEVER, "eq": NEVER,
    "background": NEVER, "noise": NEVER, "spec_augment": NEVER,
}  # fmt: skip
ALWAYS: dict[str, Any] = {"probability": 1.0}
PARAMS = parameters.load()


def difference(
    augment: dict[str, Any],
    dtype: str = "float16",
    short: str = "pad",
    gathers: bool = False,
    silent: bool = False,
    view_name: str = "mel",
    finishes: bool = True,
    images: torch.dtype = torch.float32,
) -> float:
    """The largest difference of any cell."""
    view = PARAMS.views[view_name].model_copy(update={"n_mels": BINS, "dtype": dtype})
    assert isinstance(view, MelView | PcenView)
    frames, in_db = 21, isinstance(view, MelView)
    changes = {
        "augment": augment,
        "normalise": "clip" if finishes else "none",
        "dynamic_range_db": 60.0 * in_db * finishes,
        "clip_s": frames * view.hop / view.sample_rate_hz,
        "short": short,
    }
    recipe = resolve_recipe(PARAMS.train["baseline"], changes)
    assert view.frames(recipe.clip_s) == frames
    rng, index = np.random.default_rng(1), np.arange(B)
    mixtures = draw_mixtures(3, 0, index, recipe.augment, frames)
    effects = draw_effects(0, index, recipe, view, mixtures)
    quantizer = Quantizer(view.dtype, -100.0 if in_db else 0.0, 40.0)
    has = np.stack([np.ones(B, bool), mixtures.partnered, effects.added[:, 0] > 0, mixtures.third], axis=1)
    lengths = np.where(has, rng.integers(9, 60, has.shape), 0)
    starts = rng.integers(0, 40, has.shape) if short == "loop" else rng.integers(-12, 12, has.shape)
    sounds = np.stack([rng.integers(0, STORED - 60, has.shape), lengths, starts], axis=2)
    values = rng.uniform(quantizer.low, 40, (STORED + 1, BINS)).astype(np.float32)
    values[STORED if not silent else slice(None)] = quantizer.low
    stored = torch.from_numpy(quantizer.encode(values))
    ways = (recipe.augment.mixup, recipe.augment.sumix, recipe.augment.cutmix)
    kinds = [CLIP] + [PARTNER] * any(way.probability for way in ways)
    kinds += [BACKGROUND] * bool(recipe.augment.background.probability)
    kinds += [THIRD] * bool(recipe.augment.mixup.third)
    places = [place(sounds[b, kind], frames, short == "loop") for kind in kinds for b in range(B)]
    packed = stored[torch.from_numpy(np.stack(places))]
    labels = torch.zeros(B)
    inputs = StepInputs((), torch.from_numpy(sounds), mapped(effects, torch.from_numpy), labels, labels, labels)
    normaliser = Normaliser(view, recipe, BinStatistics(torch.zeros(1, BINS), torch.ones(1, BINS)))
    transform = BatchTransform(view, recipe, normaliser, torch.device("cpu"), images)
    transform.full = True
    decoded = torch.from_numpy(quantizer.decode(packed.numpy()))
    expected = transform(decoded, inputs).clips
    padding = STORED if gathers else None
    kernel = Kernel(view, recipe, quantizer, kinds, padding, transform.noise, finishes, images)
    made = kernel(stored if gathers else packed, inputs.sounds, inputs.effects, transform.tones(inputs.effects))
    clips = made if finishes else transform.present(made, inputs).clips
    assert clips.shape == expected.shape
    return float((clips.float() - expected).abs().max())


def place(sound: Any, frames: int, loops: bool) -> Any:
    """Places of a clip's frames among the stored ones."""
    first, length, start = sound.tolist()
    position = start + np.arange(frames)
    if loops and length:
        return first + position % length
    return np.where((position >= 0) & (position < length), first + position, STORED)


CASES: dict[str, dict[str, Any]] = {
    "nothing": {"augment": OFF},
    "everything": {"augment": ALL},
    "bytes": {"augment": ALL, "dtype": "uint8"},
    "pad": {"augment": OFF | {"mixup": ALWAYS}},
    "loop": {"augment": OFF | {"mixup": ALWAYS}, "short": "loop"},
    "gathered pad": {"augment": ALL, "gathers": True, "dtype": "uint8"},
    "gathered loop": {"augment": ALL, "gathers": True, "short": "loop"},
    "no partner": {"augment": ALL | {"mixup": NEVER, "sumix": NEVER, "cutmix": NEVER}},
    "no background": {"augment": ALL | {"background": NEVER}},
    "noise alone": {"augment": OFF | {"noise": ALWAYS}},
    "background alone": {"augment": OFF | {"background": ALWAYS}},
    "third": {"augment": OFF | {"mixup": ALWAYS | {"third": 0.7}, "background": ALWAYS}},
    "gathered third": {
        "augment": ALL | {"mixup": ALWAYS | {"third": 0.7}, "sumix": NEVER, "cutmix": NEVER},
        "gathers": True,
    },
    "cutmix": {"augment": OFF | {"cutmix": ALWAYS}},
    "masks": {"augment": OFF | {"spec_augment": ALL["spec_augment"]}},
    "shift": {"augment": OFF | {"time_shift_s": 0.3}},
    "silence": {"augment": ALL, "silent": True},
    "pcen view": {"augment": OFF | {"mixup": ALWAYS, "time_shift_s": 0.3}, "view_name": "pcen"},
    "clips to present": {"augment": ALL, "finishes": False},
    "filters": {"augment": OFF | {"mixup": ALWAYS, "eq": ALWAYS | {"fewest_bands": 2, "boost_db": 6.0}}},
    "presented": {
        "augment": ALL | {"mixstyle": ALWAYS, "reverse": {"probability": 0.5}, "tempo": ALWAYS},
        "finishes": False,
    },
    "muffled": {"augment": OFF | {"mixup": ALWAYS, "lowpass": ALWAYS, "distance": {"probability": 0.5}}},
    "bfloat16": {"augment": ALL, "images": torch.bfloat16},
}

if __name__ == "__main__":
    kernel_module.BLOCK = 128  # 8 frames: a clip takes three rounds, the last of them not full
    print(json.dumps({name: difference(**case) for name, case in CASES.items()}))
