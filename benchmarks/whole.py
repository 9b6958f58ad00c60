"""The front end for a whole waveform at once, as benchmarks and tests have it. S sample, T frame, M mel bin."""

from collections.abc import Iterable, Iterator

import numpy as np

from birdcache.arrays import Floats32
from birdcache.params.views import MelView, PcenView
from pipeline.builder.frontend import room, spectrogram_blocks


def spectrogram(waveform_S: Floats32, view: MelView | PcenView) -> Floats32:
    """What the store of a view holds for a waveform: (T, M)."""
    return np.concatenate(list(spectrogram_blocks(with_room([waveform_S], view), view)))


def with_room(pieces: Iterable[Floats32], view: MelView | PcenView) -> Iterator[Floats32]:
    """Pieces (S,) of a waveform, copied behind the room that the front end needs."""
    return (np.concatenate([np.empty(room(view), np.float32), piece_S]) for piece_S in pieces)
