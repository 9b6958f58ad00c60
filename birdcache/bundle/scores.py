"""Scores of audio files by a bundle: clips as the stages cut them, the graph, windows. Imports no torch.

S shift (of a waveform: sample), N clip, W window, K class.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.audio.decoder import Decoder, decoder, with_second_try
from birdcache.audio.read import SCORING_VERSION, AudioInfo, resampled_length
from birdcache.bundle.format import LONGEST_WINDOW_S, OUTSIDE, SHORTEST_WINDOW_S, Input
from birdcache.bundle.read import Bundle
from birdcache.errors import CommandError
from birdcache.predict.calibrator import Calibrator
from birdcache.predict.checked import check_scores, window_of
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting, PostProcessing, by_soundscape, cutting_keys
from birdcache.predict.predictor import Advance, Facts, FileScores
from birdcache.predict.submission import SubmissionForm
from birdcache.storage import AnyPath

BATCH = 8  # clips at a time: a few hundred MB at most


class WaveformRows:
    """Cuts rows that begin ever later out of a waveform that arrives in pieces; holds no more than a row needs."""

    def __init__(self, pieces: Iterator[Floats32], samples: int) -> None:
        """Rows of a recording of so many samples."""
        self._pieces, self._samples = pieces, samples
        self._held, self._begin = np.empty(0, np.float32), 0

    def row(self, begin: int, length: int) -> Floats32:
        """Samples `begin` to `begin + length`, (S,); outside the recording they are OUTSIDE.

        The sample right behind the last one counts as silence: a frame may have its middle there.

        Parameters
        ----------
        begin : not before that of an earlier row.
        """
        first, last = max(begin, 0), min(begin + length, self._samples)
        self._hold(first, last)
        row_S = np.full(length, OUTSIDE, np.float32)
        if last > first:
            row_S[first - begin : last - begin] = self._held[first - self._begin : last - self._begin]
        if begin <= self._samples < begin + length:
            row_S[self._samples - begin] = 0.0
        return row_S

    def drain(self) -> None:
        """Decode what is left, so that the decoder can judge the whole file."""
        for _ in self._pieces:
            pass

    def _hold(self, first: int, last: int) -> None:
        """Decode up to sample `last`, and let go of what lies before `first`."""
        pieces, end = [self._held], self._begin + len(self._held)
        while end < last and (piece_S := next(self._pieces, None)) is not None:
            pieces.append(piece_S)
            end += len(piece_S)
        held_S = np.concatenate(pieces)
        spare = min(max(first - self._begin, 0), len(held_S))
        self._held, self._begin = held_S[spare:], self._begin + spare


class BundlePredictor:
    """A bundle as a predictor."""

    def __init__(self, bundle: Bundle, window_s: float | None = None, overlap_s: float | None = None) -> None:
        """Predict by a bundle; `window_s` and `overlap_s` ask for other windows and clips than its own."""
        self._graph, self._folder, description = bundle.graph, bundle.folder, bundle.description
        window_s = description.window_s if window_s is None else window_s
        if not SHORTEST_WINDOW_S <= window_s <= LONGEST_WINDOW_S:
            raise CommandError(f"window_s = {window_s:g}: must be {SHORTEST_WINDOW_S:g} to {LONGEST_WINDOW_S:g}")
        description = description.model_copy(update=cutting_keys(window_s, description.hop_s, overlap_s))
        self._description = description
        self._cutting = Cutting(description.window_s, description.hop_s, tuple(description.shifts_s))
        calibrator = Calibrator(description.slopes, description.offsets)
        self._post = PostProcessing(description.smoothing, description.file_max, calibrator, description.top_k)
        self._decoders = [decoder(), *(Decoder() for _ in description.inputs[1:])]
        for other in self._decoders[1:]:
            weakref.finalize(self, other.close)
        members = ", ".join(f"{name} {member.weight:.2f}" for name, member in description.members.items())
        what = f"{description.name}, {description.precision}, {len(description.labels)} labels, members {members}"
        self.facts = Facts(
            digest=f"{bundle.digest} {bundle.graph.device} {window_s} {description.hop_s} {SCORING_VERSION}",
            summary=[f"{bundle.folder}: {what}, on {bundle.graph.device}"],
            labels=description.labels,
            submission=SubmissionForm(description.submission_labels, description.submission_column),
            window_s=description.window_s,
            low_hz=description.low_hz,
            high_hz=description.high_hz,
            names=description.names,
        )

    def score(self, path: AnyPath, scratch: Path, advance: Advance, silence: bool = False) -> FileScores:
        """Score a file's windows, a few clips at a time: memory does not grow with its length; `scratch` is unused."""
        return with_second_try(lambda: self._score(path, advance, silence))

    def _score(self, path: AnyPath, advance: Advance, silence: bool) -> FileScores:
        info = self._decoders[0].mixed(path, self._decoders[0].info(path))
        middle_SN = self._cutting.moved_middles_s(info.duration_s)
        scores_CK = self._clips(path, info, middle_SN.ravel(), advance, silence)
        scores_PSNK = scores_CK.reshape(1, *middle_SN.shape, -1)
        clips = ClipScores.of(["bundle"], [(path.name, info.duration_s)], scores_PSNK, self._cutting)
        members_PWK = clips.member_windows()
        window = window_of([path.name], [members_PWK.shape[1]], self._cutting.window_s)
        check_scores(members_PWK, self._folder, window, axis=1)
        return FileScores(info.duration_s, members_PWK, info.notes)

    def _clips(self, path: AnyPath, info: AudioInfo, middle_C: Floats64, advance: Advance, silence: bool) -> Floats32:
        """Scores (C, K) of clips around middles (C,) in seconds, in any order."""
        order = np.argsort(middle_C, kind="stable")
        scores_CK = np.empty((len(order), len(self._description.labels)), np.float32)
        feeds = [
            self._rows(path, info, each, decoder, middle_C[order], silence)
            for each, decoder in zip(self._description.inputs, self._decoders, strict=True)
        ]
        done = 0
        for rows in zip(*feeds, strict=True):
            chosen = order[done : done + len(rows[0])]
            scores_CK[chosen], _ = self._graph.run(rows)
            done += len(chosen)
            advance(len(chosen) / len(order))
        return scores_CK

    def _rows(
        self, path: AnyPath, info: AudioInfo, wanted: Input, decoder: Decoder, middle_C: Floats64, silence: bool = True
    ) -> Iterator[Floats32]:
        """Rows (B, S) of one input for clips around rising middles, batch after batch."""
        rate_hz = wanted.sample_rate_hz
        samples = resampled_length(info.frames, info.sample_rate_hz, rate_hz)
        begins = [wanted.begin(first) for first in first_frames(middle_C, samples, wanted).tolist()]
        pieces: Any = decoder.waveform(path, rate_hz, info.duration_s, silence=silence, read_as=info.read_as)
        with closing(pieces):
            rows = WaveformRows(pieces, samples)
            for start in range(0, len(begins), BATCH):
                yield np.stack([rows.row(begin, wanted.samples) for begin in begins[start : start + BATCH]])
            rows.drain()

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores of the windows of several files: (W, K)."""
        return by_soundscape(self._post, members_PWK[0], windows)

    def called_above(self) -> Floats32:
        """From which final score on each class counts as detected: (K,)."""
        return self._post.thresholds(np.array(self._description.thresholds, np.float32))


def first_frames(middle_s: Floats64, samples: int, wanted: Input) -> Ints:
    """The frame with which each clip begins, as `train.score.inference.clips_at` places them: (C,)."""
    frames = 1 + max(samples - wanted.tail, 0) // wanted.hop
    middle = middle_s * (wanted.sample_rate_hz / wanted.hop)
    start = np.rint(middle - wanted.clip_frames / 2)
    return np.clip(start, 0, max(frames - wanted.clip_frames, 0)).astype(np.int64)
