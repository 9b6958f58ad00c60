"""`BatchTransform` as one Triton kernel, a program for each clip: from quantised frames to images.

B clip, S sound of a clip (itself, its partner, its background, a third one), X sounds of a batch, T frame, M mel bin, J
mask.
The torch operations of `train.augment.batch` are its oracle, and what CPUs and other recipes use.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# (Triton compiles its functions, which have no types)

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, MelView
from cache.mel import POWER_FLOOR
from cache.quantize import Quantizer
from train.augment.normalise import SMALLEST_VARIATION
from train.augment.ops import DB_PER_DOUBLING
from train.data.augment_draws import Effects
from train.data.batch_plan import BACKGROUND, PARTNER, THIRD

BLOCK = 4096  # cells of a clip that a program works on at a time
WARPS = 8


@dataclass(frozen=True)
class Kernel:
    """The kernel for a view and a recipe.

    Parameters
    ----------
    sounds : those that the recipe can mix, as of `Planner.sounds`.
    padding : place of a frame of padding in the store, if the kernel gathers clips itself.
    noise : bank of noise (N, M), if the recipe has noise.
    finishes : whether it makes images, of type `dtype`; else clips (B, T, M) float32 that are still to be presented.
    """

    view: AnyView  # a single one
    recipe: Recipe
    quantizer: Quantizer
    sounds: list[int]
    padding: int | None
    noise: Tensor | None
    finishes: bool
    dtype: torch.dtype

    def __call__(self, codes: Tensor, sounds_BS3: Tensor, effects: Effects, tone_db: Tensor) -> Tensor:
        """Images (B, 1, M, T), or clips (B, T, M).

        Parameters
        ----------
        codes : (X, T, M) as in `StepInputs`, or all frames of the store.
        tone_db : (B, 2, M), (B, 2, 1) or (B, 2, 0).
        """
        batch, bins, frames = len(sounds_BS3), codes.shape[-1], self.view.frames(self.recipe.clip_s)
        scratch = torch.empty((batch, frames, bins), dtype=torch.float32, device=codes.device)
        shape, dtype = ((batch, 1, bins, frames), self.dtype) if self.finishes else (scratch.shape, scratch.dtype)
        out = torch.empty(shape, dtype=dtype, device=codes.device)
        columns, in_db = triton.next_power_of_2(bins), isinstance(self.view, MelView)
        range_db = self.recipe.dynamic_range_db
        kinds = (PARTNER, BACKGROUND, THIRD)
        partners, backgrounds, thirds = (kind in self.sounds and self.sounds.index(kind) for kind in kinds)
        finish_clip[(batch,)](
            codes, sounds_BS3, effects.span, effects.weights, tone_db, effects.added,
            scratch if self.noise is None else self.noise, effects.noise_start, effects.shift,
            *effects.mel_masks, *effects.time_masks, scratch, out,
            self.padding or 0, self.quantizer.step, self.quantizer.low, range_db,
            PARTNERS=int(partners), BACKGROUNDS=int(backgrounds), THIRDS=int(thirds),
            BATCH=batch, T=frames, M=bins, COLUMNS=columns, ROWS=max(BLOCK // columns, 1),
            GATHERS=self.padding is not None, LOOPS=self.recipe.short == "loop",
            IS_BYTE=self.quantizer.dtype == "uint8", IN_DB=in_db, TONES=tone_db.shape[2] if in_db else 0,
            HAS_NOISE=self.noise is not None, HAS_RANGE=in_db and range_db > 0, FINISHES=self.finishes,
            MEL_MASKS=effects.mel_masks.width.shape[1], TIME_MASKS=effects.time_masks.width.shape[1],
            DB=DB_PER_DOUBLING, FLOOR=POWER_FLOOR, EVEN=SMALLEST_VARIATION, num_warps=WARPS,
        )  # fmt: skip
        return out


@triton.jit
def _values(
    codes, sounds, tone, b, sound, slot, t, m, there, padding, step, low, BATCH: tl.constexpr, T: tl.constexpr,
    M: tl.constexpr, GATHERS: tl.constexpr, LOOPS: tl.constexpr, IS_BYTE: tl.constexpr, TONES: tl.constexpr,
):  # fmt: skip
    """Values of frames t of a sound of clip b, by its place in the store or its slot in the batch; 0 if it lacks it."""
    facts = sounds + (b * 4 + sound) * 3
    frames = tl.load(facts + 1)
    if GATHERS:
        place = tl.load(facts)
        position = tl.load(facts + 2) + t
        if LOOPS:
            row = place + position % tl.maximum(frames, 1)
        else:
            row = tl.where((position >= 0) & (position < frames), place + position, padding)
    else:
        row = (slot * BATCH + b).to(tl.int64) * T + t
    value = tl.load(codes + row[:, None] * M + m[None, :], mask=there & (frames > 0), other=0).to(tl.float32)
    if IS_BYTE:
        value = value * step + low
    if TONES:
        value += tl.load(tone + (2 * b + sound) * TONES + m % TONES, mask=m < M, other=0)[None, :]
    return value


@triton.jit
def _seen(place, start, width, b, MASKS: tl.constexpr):
    """1 at places outside of all masks of clip b, else 0."""
    seen = tl.full(place.shape, 1.0, tl.float32)
    for j in tl.static_range(MASKS):
        begin = tl.load(start + b * MASKS + j)
        seen = tl.where((place >= begin) & (place < begin + tl.load(width + b * MASKS + j)), 0.0, seen)
    return seen


@triton.jit
def _level(
    clip, m, peak, lowest, T: tl.constexpr, M: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
    EVEN: tl.constexpr,
):  # fmt: skip
    """Mean of a clip, nothing below `lowest`, and what scales its deviation to 1; 0 if it is even."""
    total, squares = tl.zeros((COLUMNS,), tl.float32), tl.zeros((COLUMNS,), tl.float32)
    for t0 in range(0, T, ROWS):
        t = t0 + tl.arange(0, ROWS)
        there = (t < T)[:, None] & (m < M)[None, :]
        x = tl.load(clip + t[:, None] * M + m[None, :], mask=there, other=0)
        x = tl.where(there, tl.maximum(x, lowest) - peak, 0.0)  # from the peak, for float32's sake
        total += tl.sum(x, axis=0)
        squares += tl.sum(x * x, axis=0)
    below = tl.sum(total, axis=0) / (T * M)
    variance = (tl.sum(squares, axis=0) - below * below * (T * M)) / (T * M - 1)
    mean, deviation = peak + below, tl.sqrt(tl.maximum(variance, 0.0))
    return mean, tl.where(deviation <= EVEN * tl.abs(mean), 0.0, 1 / deviation)


@triton.jit
def _present(
    clip, image, m, peak, by, b, mel_start, mel_width, time_start, time_width, range_db,
    T: tl.constexpr, M: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, HAS_RANGE: tl.constexpr,
    FINISHES: tl.constexpr, MEL_MASKS: tl.constexpr, TIME_MASKS: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Write the mixture of clip b as the network sees it, or as torch's operations take it."""
    lowest = peak - range_db if HAS_RANGE else float("-inf")
    mean, scale = 0.0, 1.0
    if FINISHES:
        mean, scale = _level(clip, m, peak, lowest, T, M, COLUMNS, ROWS, EVEN)
    seen_mel = _seen(m, mel_start, mel_width, b, MEL_MASKS)
    for t0 in range(0, T, ROWS):
        t = t0 + tl.arange(0, ROWS)
        there = (t < T)[:, None] & (m < M)[None, :]
        source = ((t - by) % T + T) % T
        x = tl.load(clip + source[:, None] * M + m[None, :], mask=there, other=0)
        if FINISHES:
            x = (tl.maximum(x, lowest) - mean) * scale * seen_mel[None, :]
            x *= _seen(t, time_start, time_width, b, TIME_MASKS)[:, None]
            tl.store(image + m[None, :] * T + t[:, None], x.to(image.dtype.element_ty), mask=there)
        else:
            tl.store(image + t[:, None] * M + m[None, :], x, mask=there)


@triton.jit
def finish_clip(
    codes, sounds, span, weights, tone, added, noise, noise_start, shift,
    mel_start, mel_width, time_start, time_width, scratch, out, padding, step, low, range_db,
    BATCH: tl.constexpr, T: tl.constexpr, M: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
    PARTNERS: tl.constexpr, BACKGROUNDS: tl.constexpr, THIRDS: tl.constexpr, GATHERS: tl.constexpr, LOOPS: tl.constexpr,
    IS_BYTE: tl.constexpr, IN_DB: tl.constexpr, TONES: tl.constexpr, HAS_NOISE: tl.constexpr,
    HAS_RANGE: tl.constexpr, FINISHES: tl.constexpr, MEL_MASKS: tl.constexpr, TIME_MASKS: tl.constexpr,
    DB: tl.constexpr, FLOOR: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Clip b of a batch, in passes over its frames: measure what is added, mix, measure the mixture, present."""
    b = tl.program_id(0)
    m = tl.arange(0, COLUMNS)
    clip, image = scratch + b.to(tl.int64) * T * M, out + b.to(tl.int64) * T * M
    background, hiss = tl.load(added + 2 * b), tl.load(added + 2 * b + 1)  # power relative to what they are laid under
    is_changed = (tl.load(sounds + b * 12 + 4) > 0) | (background > 0) | (hiss > 0)
    begin, own_weight, partner_weight = tl.load(span + 2 * b), tl.load(weights + 3 * b), tl.load(weights + 3 * b + 1)
    end = begin + tl.load(span + 2 * b + 1)
    first_hiss = tl.load(noise_start + b)
    total = tl.zeros((COLUMNS,), tl.float32)
    background_total, hiss_total = total, total
    background_gain, hiss_gain = 0.0, 0.0
    loudest = tl.full((COLUMNS,), float("-inf"), tl.float32)
    for mixes in tl.static_range(0 if BACKGROUNDS or HAS_NOISE else 1, 2):  # what is added is measured first
        for t0 in range(0, T, ROWS):
            t = t0 + tl.arange(0, ROWS)
            there = (t < T)[:, None] & (m < M)[None, :]
            own = _values(codes, sounds, tone, b, 0, 0, t, m, there, padding, step, low,
                          BATCH, T, M, GATHERS, LOOPS, IS_BYTE, TONES)  # fmt: skip
            x = tl.exp2(own * (1 / DB)) if IN_DB else own
            if PARTNERS:
                y = _values(codes, sounds, tone, b, 1, PARTNERS, t, m, there, padding, step, low,
                            BATCH, T, M, GATHERS, LOOPS, IS_BYTE, TONES)  # fmt: skip
                y = tl.exp2(y * (1 / DB)) if IN_DB else y
                inside = (t >= begin) & (t < end)
                x = x * tl.where(inside, own_weight, 1.0)[:, None] + y * tl.where(inside, partner_weight, 0.0)[:, None]
            if THIRDS:
                y = _values(codes, sounds, tone, b, 3, THIRDS, t, m, there, padding, step, low,
                            BATCH, T, M, GATHERS, LOOPS, IS_BYTE, 0)  # fmt: skip
                x += (tl.exp2(y * (1 / DB)) if IN_DB else y) * tl.load(weights + 3 * b + 2)
            if not mixes:
                total += tl.sum(tl.where(there, x, 0.0), axis=0)
            if BACKGROUNDS:
                y = _values(codes, sounds, tone, b, 2, BACKGROUNDS, t, m, there, padding, step, low,
                            BATCH, T, M, GATHERS, LOOPS, IS_BYTE, 0)  # fmt: skip
                y = tl.exp2(y * (1 / DB)) if IN_DB else y
                x += y * background_gain
                if not mixes:
                    background_total += tl.sum(tl.where(there, y, 0.0), axis=0)
            if HAS_NOISE:
                y = tl.load(noise + (first_hiss + t)[:, None] * M + m[None, :], mask=there, other=0)
                x += y * hiss_gain
                if not mixes:
                    hiss_total += tl.sum(y, axis=0)
            if mixes:
                x = tl.log2(tl.maximum(x, FLOOR)) * DB if IN_DB else x
                x = tl.where(is_changed, x, own)
                tl.store(clip + t[:, None] * M + m[None, :], x, mask=there)
                loudest = tl.maximum(loudest, tl.max(tl.where(there, x, float("-inf")), axis=0))
        if not mixes:
            level = tl.sum(total, axis=0)
            background_gain = background * level / tl.sum(background_total, axis=0) if BACKGROUNDS else 0.0
            hiss_gain = hiss * (1 + background) * level / tl.sum(hiss_total, axis=0) if HAS_NOISE else 0.0
    tl.debug_barrier()  # below, other threads read what these have written
    _present(clip, image, m, tl.max(loudest, axis=0), tl.load(shift + b), b, mel_start, mel_width, time_start,
             time_width, range_db, T, M, COLUMNS, ROWS, HAS_RANGE, FINISHES, MEL_MASKS, TIME_MASKS, EVEN)  # fmt: skip
