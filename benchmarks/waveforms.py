"""Another design of 2025 and 2026: a cache of waveforms as 16-bit integers, of which the device computes mel spectra.

Its batches are planned, staged ahead, mixed and presented as ours are, so that only what is stored differs. C a bin of
the spectrum, M mel bin, B batch, T frame, S sample.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from birdcache.arrays import Ints
from birdcache.params.views import MelView
from cache.mel import POWER_FLOOR, mel_filters
from cache.quantize import Quantizer
from cache.store import Store
from pipeline.builder.frontend import value_range
from train.data.frames import Frames, Uploaded

FULL_SCALE = 2.0**-15
PIECE_S = 600  # of noise, repeated: drawing hours of it would take longer


class WaveformFrames(Frames):
    """Made-up waveforms in place of a store's frames, in host memory or in the device's.

    Parameters
    ----------
    store : of which recordings have their lengths.
    clip_frames : of a clip, T.
    hours : of waveforms that are held; recordings begin in them anew after these.
    resident : whether the device's memory holds them.
    """

    def __init__(self, store: Store, device: torch.device, clip_frames: int, hours: float, resident: bool) -> None:
        view = store.view
        assert isinstance(view, MelView)
        super().__init__(Quantizer("float16", *value_range(view)), device)
        self._first_frame, self._hop, self._n_fft, self._device = store.first_frame, view.hop, view.n_fft, device
        self._length = (clip_frames - 1) * view.hop + view.n_fft
        self._window_S = torch.hann_window(view.n_fft, device=device)
        self._filters_CM = torch.from_numpy(mel_filters(view)).to(device)
        piece_S = np.random.default_rng(8).normal(0, 1000, PIECE_S * view.sample_rate_hz).astype(np.int16)
        self._samples_S = torch.from_numpy(np.resize(piece_S, round(hours * 3600 * view.sample_rate_hz)))
        self._resident_S = self._samples_S.to(device) if resident else None

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """(B, S) samples, or (B,) their places if they lie on the device."""
        last = len(self._samples_S) - self._length
        start_B = (self._first_frame[row_B] + position_BT[:, 0].clip(0)) * self._hop % last
        if self._resident_S is not None:
            return self.uploader.send(torch.from_numpy(start_B))
        is_pinned = self._device.type == "cuda"
        clips_BS = torch.empty((len(start_B), self._length), dtype=torch.int16, pin_memory=is_pinned)
        for clip_S, start in zip(clips_BS, start_B.tolist(), strict=True):
            clip_S.copy_(self._samples_S[start : start + self._length])
        return self.uploader.send(clips_BS)

    def codes(self, staged: Uploaded) -> tuple[Tensor, ...]:
        """Decibels (B, T, M) as a store of float16 holds them."""
        sent = self.uploader.receive(staged)
        if self._resident_S is not None:
            sent = self._resident_S[sent[:, None] + torch.arange(self._length, device=self._device)]
        return (self.decibels(sent).half(),)

    def decibels(self, samples_BS: Tensor) -> Tensor:
        """Mel spectra (B, T, M) of samples that reach half a window over the clip at both ends."""
        waveform_BS = samples_BS.float().mul_(FULL_SCALE)
        spectrum_BCT = torch.stft(
            waveform_BS, self._n_fft, self._hop, window=self._window_S, center=False, return_complex=True
        )
        power_BCT = torch.view_as_real(spectrum_BCT).square().sum(dim=-1)
        mel_BTM = power_BCT.transpose(1, 2) @ self._filters_CM
        return mel_BTM.clamp_(min=POWER_FLOOR).log10_().mul_(10)
