"""Results of the earlier stages, read once for the whole page."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from birdcache.arrays import Floats32
from birdcache.params.embedding import StoredEmbedding
from birdcache.params.views import MelView, PcenView
from cache import tables
from cache.csv_files import CsvTable
from cache.store import Store, open_named
from cache.tables import Col
from train.data.member import ResolvedMember, read_member
from train.paths import ENSEMBLE as ENSEMBLE_FILE
from train.paths import REPORTS, store_path
from train.score.ensemble import ENSEMBLE, Ensemble, read_ensemble
from train.score.out_of_fold import OutOfFold, read_out_of_fold
from train.score.tables import Windows, read_windows


@dataclass(frozen=True)
class AudioFile:
    """An audio file: digest of its content, path, duration, and how it is read (None: to be found out)."""

    sha256: str
    path: str
    duration_s: float
    read_as: str | None = None


@dataclass(frozen=True)
class PipelineResults:
    """Ensemble, members, predictions and tables of a finished pipeline."""

    ensemble: Ensemble
    members: dict[str, ResolvedMember]
    labels: pd.DataFrame  # a row for each class, K of them, as in `tables.LABELS`
    recordings: pd.DataFrame  # indexed by recording, as in `tables.RECORDINGS`
    predicted: OutOfFold  # with the ensemble as one more member
    windows: Windows
    _stores: dict[tuple[str, bool], Store] = field(default_factory=dict, init=False)

    @property
    def scores(self) -> Floats32:
        """The ensemble's out-of-fold scores: (N, K)."""
        return self.predicted.scores[ENSEMBLE]

    @cached_property
    def names(self) -> dict[str, str]:
        """Name of each class: its common name, or its label if it has none."""
        pairs = zip(self.labels[Col.LABEL], self.labels[Col.COMMON_NAME], strict=True)
        return {label: name or label for label, name in pairs}

    @cached_property
    def views(self) -> dict[str, MelView | PcenView]:
        """The members' views of spectrograms, each once, in the order of the members."""
        names = dict.fromkeys(view for member in self.members.values() for view in member.member.views)
        views = {name: self.store(name).view for name in names}
        return {name: view for name, view in views.items() if not isinstance(view, StoredEmbedding)}

    def store(self, view: str, soundscapes: bool = False) -> Store:
        """A view's store of recordings or soundscapes, opened once."""
        key = view, soundscapes
        if key not in self._stores:
            self._stores[key] = open_named(store_path(*key))
        return self._stores[key]

    @cached_property
    def audio(self) -> dict[str, AudioFile]:
        """The audio file of each usable recording."""
        by_content = {each.sha256: each for each in read_audio(tables.AUDIO)}
        pairs = zip(self.recordings.index, self.recordings[Col.SHA256], strict=True)
        return {str(name): by_content[sha256] for name, sha256 in pairs if sha256 in by_content}

    @cached_property
    def soundscape_audio(self) -> dict[str, AudioFile]:
        """The audio file of each soundscape."""
        names = tables.SOUNDSCAPES.read(Col.SOUNDSCAPE)[Col.SOUNDSCAPE]
        return dict(zip(names, read_audio(tables.SOUNDSCAPES), strict=True))


def read_results() -> PipelineResults:
    """Read the results of all stages up to `evaluate`; a BirdcacheError names the stage to run if some do not fit."""
    ensemble = read_ensemble(ENSEMBLE_FILE)
    members = {name: read_member(name) for name in ensemble.members}
    labels = tables.LABELS.read()
    view = next(iter(members.values())).member.view
    predicted = read_out_of_fold(list(members), ensemble.folds, view, list(labels[Col.LABEL]))
    return PipelineResults(
        ensemble=ensemble,
        members=members,
        labels=labels,
        recordings=tables.RECORDINGS.read().set_index(Col.RECORDING),
        predicted=predicted.with_ensemble(ensemble),
        windows=read_windows(list(labels[Col.LABEL]), ensemble),
    )


def read_report(name: str) -> Any:
    """A report of an earlier stage: reports/<name>.json."""
    return json.loads((REPORTS / f"{name}.json").read_text(encoding="utf-8"))


def read_audio(table: CsvTable) -> list[AudioFile]:
    """The audio files of a table, each content once."""
    rows = table.read(Col.SHA256, Col.PATH, Col.DURATION_S, Col.READ_AS)
    return [AudioFile(*row) for row in rows.itertuples(index=False, name=None)]


def piece_of(store: Store, sha256: str, start_s: float, seconds: float) -> Floats32:
    """Frames (T, M) of a piece of a recording; none if the store lacks the recording."""
    row = int(store.rows_of([sha256])[0])
    if row < 0:
        return np.empty((0, store.view.n_mels), np.float32)
    first = min(round(start_s * store.view.sample_rate_hz / store.view.hop), int(store.frames[row]) - 1)
    quantized = store.empty(min(store.view.frames(seconds), int(store.frames[row]) - first))
    store.copy_frames(row, first, quantized)
    return store.quantizer.decode(quantized)
