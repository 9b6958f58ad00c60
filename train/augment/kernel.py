"""`BatchTransform` as one Triton kernel, a program for each clip: from quantised frames to images.

B clip, S sound of a clip (itself, its partner, its background), X sounds of a batch, T frame, M mel bin, J mask.
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
from birdcache.params.views import MelView, PcenView
from cache.mel import POWER_FLOOR
from cache.quantize import Quantizer
from train.augment.normalise import SMALLEST_VARIATION
from train.augment.ops import DB_PER_DOUBLING
from train.data.augment_draws import Effects
from train.data.batch_plan import BACKGROUND, PARTNER

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
    finishes : whether it makes images; else clips (B, T, M) float32, in dB or PCEN, that are still to be presented.
    dtype : of images.
    """

    view: MelView | PcenView
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
        shape = (batch, 1, bins, frames) if self.finishes else scratch.shape
        out = torch.empty(shape, dtype=self.dtype if self.finishes else torch.float32, device=codes.device)
        columns = max(triton.next_power_of_2(bins), 16)
        in_db = isinstance(self.view, MelView)
        finish_clip[(batch,)](
            codes,
            sounds_BS3,
            effects.span,
            effects.weights,
            tone_db,
            effects.added,
            scratch if self.noise is None else self.noise,
            effects.noise_start,
            effects.shift,
            *effects.mel_masks,
            *effects.time_masks,
            scratch,
            out,
            self.padding or 0,
            self.quantizer.step,
            self.quantizer.low,
            self.recipe.dynamic_range_db,
            BATCH=batch,
            T=frames,
            M=bins,
            COLUMNS=columns,
            ROWS=max(BLOCK // columns, 1),
            PARTNERS=self.sounds.index(PARTNER) if PARTNER in self.sounds else 0,
            BACKGROUNDS=self.sounds.index(BACKGROUND) if BACKGROUND in self.sounds else 0,
            GATHERS=self.padding is not None,
            LOOPS=self.recipe.short == "loop",
            IS_BYTE=self.quantizer.dtype == "uint8",
            IN_DB=in_db,
            TONES=tone_db.shape[2] if in_db else 0,
            HAS_NOISE=self.noise is not None,
            HAS_RANGE=in_db and self.recipe.dynamic_range_db > 0,
            FINISHES=self.finishes,
            MEL_MASKS=effects.mel_masks.width.shape[1],
            TIME_MASKS=effects.time_masks.width.shape[1],
            DB=DB_PER_DOUBLING,
            FLOOR=POWER_FLOOR,
            EVEN=SMALLEST_VARIATION,
            num_warps=WARPS,
        )
        return out


@triton.jit
def _values(
    codes, sounds, b, sound, slot, t, m, there, padding, step, low,
    BATCH: tl.constexpr, T: tl.constexpr, M: tl.constexpr,
    GATHERS: tl.constexpr, LOOPS: tl.constexpr, IS_BYTE: tl.constexpr,
):  # fmt: skip
    """Values of frames t of a sound of clip b: its place in the store, or its slot among the packed ones."""
    if GATHERS:
        place = tl.load(sounds + (b * 3 + sound) * 3)
        frames = tl.load(sounds + (b * 3 + sound) * 3 + 1)
        position = tl.load(sounds + (b * 3 + sound) * 3 + 2) + t
        if LOOPS:
            row = place + position % frames
        else:
            row = tl.where((position >= 0) & (position < frames), place + position, padding)
    else:
        row = (slot * BATCH + b).to(tl.int64) * T + t
    value = tl.load(codes + row[:, None] * M + m[None, :], mask=there, other=0).to(tl.float32)
    if IS_BYTE:
        value = value * step + low
    return value


@triton.jit
def _tone(tone, b, which, m, TONES: tl.constexpr, M: tl.constexpr):
    """What makes a sound louder in each mel bin, in dB."""
    if TONES == 0:
        return tl.zeros_like(m).to(tl.float32)
    return tl.load(tone + (2 * b + which) * TONES + m % TONES, mask=m < M, other=0)


@triton.jit
def _seen(place, start, width, b, MASKS: tl.constexpr):
    """1 at places outside of all masks of clip b, else 0."""
    seen = tl.full(place.shape, 1.0, tl.float32)
    for j in tl.static_range(MASKS):
        begin = tl.load(start + b * MASKS + j)
        end = begin + tl.load(width + b * MASKS + j)
        seen = tl.where((place >= begin) & (place < end), 0.0, seen)
    return seen


@triton.jit
def finish_clip(
    codes, sounds, span, weights, tone, added, noise, noise_start, shift,
    mel_start, mel_width, time_start, time_width, scratch, out, padding, step, low, range_db,
    BATCH: tl.constexpr, T: tl.constexpr, M: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
    PARTNERS: tl.constexpr, BACKGROUNDS: tl.constexpr, GATHERS: tl.constexpr, LOOPS: tl.constexpr,
    IS_BYTE: tl.constexpr, IN_DB: tl.constexpr, TONES: tl.constexpr, HAS_NOISE: tl.constexpr,
    HAS_RANGE: tl.constexpr, FINISHES: tl.constexpr, MEL_MASKS: tl.constexpr, TIME_MASKS: tl.constexpr,
    DB: tl.constexpr, FLOOR: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Clip b of a batch, in passes over its frames; between them it lies in `scratch`, as power or as what is shown."""
    b = tl.program_id(0)
    m = tl.arange(0, COLUMNS)
    clip = scratch + b.to(tl.int64) * T * M
    has_partner = tl.load(sounds + (b * 3 + 1) * 3 + 1) > 0 if PARTNERS else False
    background = tl.load(added + 2 * b) if BACKGROUNDS else 0.0
    hiss = tl.load(added + 2 * b + 1) if HAS_NOISE else 0.0
    is_added = (background > 0) | (hiss > 0)
    is_changed = has_partner | is_added
    sound_sum = tl.zeros((COLUMNS,), tl.float32)
    background_sum = tl.zeros((COLUMNS,), tl.float32)
    hiss_sum = tl.zeros((COLUMNS,), tl.float32)
    loudest = tl.full((COLUMNS,), float("-inf"), tl.float32)
    own_tone = _tone(tone, b, 0, m, TONES, M)
    partner_tone = _tone(tone, b, 1, m, TONES, M)
    begin = tl.load(span + 2 * b)
    end = begin + tl.load(span + 2 * b + 1)
    own_weight = tl.load(weights + 2 * b)
    partner_weight = tl.load(weights + 2 * b + 1)
    hiss_begin = tl.load(noise_start + b)
    for t0 in range(0, T, ROWS):  # mix in the partner, and measure what is to be added
        t = t0 + tl.arange(0, ROWS)
        there = (t < T)[:, None] & (m < M)[None, :]
        x = _values(codes, sounds, b, 0, 0, t, m, there, padding, step, low, BATCH, T, M, GATHERS, LOOPS, IS_BYTE)
        x += own_tone[None, :]
        if is_changed:
            if IN_DB:
                x = tl.exp2(x * (1 / DB))
            if has_partner:
                y = _values(
                    codes, sounds, b, 1, PARTNERS, t, m, there, padding, step, low,
                    BATCH, T, M, GATHERS, LOOPS, IS_BYTE,
                )  # fmt: skip
                y += partner_tone[None, :]
                if IN_DB:
                    y = tl.exp2(y * (1 / DB))
                inside = (t >= begin) & (t < end)
                x = x * tl.where(inside, own_weight, 1.0)[:, None] + y * tl.where(inside, partner_weight, 0.0)[:, None]
            if is_added:
                sound_sum += tl.sum(tl.where(there, x, 0.0), axis=0)
                if background > 0:
                    y = _values(
                        codes, sounds, b, 2, BACKGROUNDS, t, m, there, padding, step, low,
                        BATCH, T, M, GATHERS, LOOPS, IS_BYTE,
                    )  # fmt: skip
                    if IN_DB:
                        y = tl.exp2(y * (1 / DB))
                    background_sum += tl.sum(tl.where(there, y, 0.0), axis=0)
                if hiss > 0:
                    y = tl.load(noise + (hiss_begin + t)[:, None] * M + m[None, :], mask=there, other=0)
                    hiss_sum += tl.sum(y, axis=0)
            elif IN_DB:
                x = tl.log2(tl.maximum(x, FLOOR)) * DB
        tl.store(clip + t[:, None] * M + m[None, :], x, mask=there)
        loudest = tl.maximum(loudest, tl.max(tl.where(there, x, float("-inf")), axis=0))
    if is_added:
        level = tl.sum(sound_sum, axis=0)
        background_gain = background * level / tl.sum(background_sum, axis=0) if background > 0 else 0.0
        hiss_gain = hiss * (1 + background) * level / tl.sum(hiss_sum, axis=0) if hiss > 0 else 0.0
        loudest = tl.full((COLUMNS,), float("-inf"), tl.float32)
        tl.debug_barrier()
        for t0 in range(0, T, ROWS):  # add background and noise
            t = t0 + tl.arange(0, ROWS)
            there = (t < T)[:, None] & (m < M)[None, :]
            x = tl.load(clip + t[:, None] * M + m[None, :], mask=there, other=0)
            if background > 0:
                y = _values(
                    codes, sounds, b, 2, BACKGROUNDS, t, m, there, padding, step, low,
                    BATCH, T, M, GATHERS, LOOPS, IS_BYTE,
                )  # fmt: skip
                if IN_DB:
                    y = tl.exp2(y * (1 / DB))
                x += y * background_gain
            if hiss > 0:
                y = tl.load(noise + (hiss_begin + t)[:, None] * M + m[None, :], mask=there, other=0)
                x += y * hiss_gain
            if IN_DB:
                x = tl.log2(tl.maximum(x, FLOOR)) * DB
            tl.store(clip + t[:, None] * M + m[None, :], x, mask=there)
            loudest = tl.maximum(loudest, tl.max(tl.where(there, x, float("-inf")), axis=0))
    tl.debug_barrier()  # frames are rolled below, to other threads
    lowest = tl.max(loudest, axis=0) - range_db if HAS_RANGE else float("-inf")
    mean, scale = 0.0, 1.0
    if FINISHES:
        total = tl.zeros((COLUMNS,), tl.float32)
        for t0 in range(0, T, ROWS):
            t = t0 + tl.arange(0, ROWS)
            there = (t < T)[:, None] & (m < M)[None, :]
            x = tl.maximum(tl.load(clip + t[:, None] * M + m[None, :], mask=there, other=0), lowest)
            total += tl.sum(tl.where(there, x, 0.0), axis=0)
        mean = tl.sum(total, axis=0) / (T * M)
        squares = tl.zeros((COLUMNS,), tl.float32)
        for t0 in range(0, T, ROWS):
            t = t0 + tl.arange(0, ROWS)
            there = (t < T)[:, None] & (m < M)[None, :]
            x = tl.maximum(tl.load(clip + t[:, None] * M + m[None, :], mask=there, other=0), lowest) - mean
            squares += tl.sum(tl.where(there, x * x, 0.0), axis=0)
        deviation = tl.sqrt(tl.sum(squares, axis=0) / (T * M - 1))
        scale = tl.where(deviation <= EVEN * tl.abs(mean), 0.0, 1 / deviation)
    by = tl.load(shift + b)
    seen_mel = _seen(m, mel_start, mel_width, b, MEL_MASKS)
    image = out + b.to(tl.int64) * T * M
    for t0 in range(0, T, ROWS):
        t = t0 + tl.arange(0, ROWS)
        there = (t < T)[:, None] & (m < M)[None, :]
        source = ((t - by) % T + T) % T
        x = tl.load(clip + source[:, None] * M + m[None, :], mask=there, other=0)
        if FINISHES:
            seen_time = _seen(t, time_start, time_width, b, TIME_MASKS)
            x = (tl.maximum(x, lowest) - mean) * scale * seen_mel[None, :] * seen_time[:, None]
            tl.store(image + m[None, :] * T + t[:, None], x.to(out.dtype.element_ty), mask=there)
        else:
            tl.store(image + t[:, None] * M + m[None, :], x, mask=there)
