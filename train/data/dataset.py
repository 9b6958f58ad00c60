"""A member's data: its stores, opened once, with the frames in them and the labels of what they hold. S soundscape."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from birdcache.arrays import Ints
from birdcache.errors import TrainError
from birdcache.params.sections import MachineParams
from birdcache.params.views import AnyView, stored_views
from cache import tables
from cache.store import Store, open_named
from cache.tables import Col
from train.data.examples import Examples, read_examples, read_labels
from train.data.frames import Frames
from train.data.member import ResolvedMember, joint_digest
from train.data.multi_view import held_by_all, open_multi_view
from train.data.spans import trimmed, with_annotated_times
from train.data.teacher import Teacher, open_teacher
from train.data.windows import read_windows
from train.paths import store_path


@dataclass(frozen=True)
class OpenStores:
    """The stores of a member's view or views, and the frames in them."""

    stores: tuple[Store, ...]
    frames: Frames
    placement: str  # a line for each store: where its frames are read from, and why

    @property
    def first(self) -> Store:
        """The store whose row numbers address the frames."""
        return self.stores[0]

    @property
    def digest(self) -> str:
        """The digest of all stores together."""
        return joint_digest(self.stores)


@dataclass(frozen=True)
class Dataset(OpenStores):
    """A member's recordings: all that each of its stores holds, with the fold of each (-1: in training always)."""

    member: ResolvedMember
    examples: Examples
    folds: Ints
    soundscapes: OpenStores | None = None  # open if windows of them are labelled, or on request
    windows: tuple[Examples, Examples, Ints] | None = None  # as from `read_windows`
    teacher: Teacher | None = None

    def split(self, fold: int) -> tuple[Examples, Examples]:
        """The examples to train on, one for each annotated time where there are any, and those to validate on.

        A member of some classes draws others as seldom as it wants, and is measured on its own.
        """
        trained, validated = self.examples.subset(self.folds != fold), self.examples.subset(self.folds == fold)
        trained = with_annotated_times(trained, self.first, self.member.view, self.member.recipe.clip_s)
        if wanted := self.member.member.labels:
            trained = trained.weighed(np.where(np.isin(trained.labels, self.member.only), 1.0, wanted.others))
        return trained, self._judged(validated)

    def split_windows(self, fold: int) -> tuple[Examples | None, Examples | None]:
        """The labelled windows to train on, of soundscapes that the fold does not hold out, and those that judge."""
        if self.windows is None:
            return None, None
        taught, judged, folds = self.windows
        return taught.subset(folds != fold), self._judged(judged.subset(folds == fold))

    def _judged(self, examples: Examples) -> Examples:
        only = self.member.only
        return examples.knowing(np.isin(examples.labels, only)) if only else examples


def open_dataset(
    member: ResolvedMember, machine: MachineParams, device: torch.device, soundscapes: bool = False
) -> Dataset:
    """Open a member's recordings, and its soundscapes if windows of them are labelled, or on request.

    A TrainError if a store was rebuilt after the member was resolved, or holds none of the recordings.
    """
    stores = open_stores(member)
    examples, folds = read_examples(stores[0], read_labels())
    held = held_by_all(stores, examples.rows)
    examples, folds = examples.subset(held), folds[held]  # a recording refused in one view is missing in that store
    if member.recipe.trim_db:
        examples = trimmed(examples, stores[0], member.recipe.trim_db)
    dataset = Dataset(stores, *open_multi_view(stores, device, machine), member, examples, folds)
    split = tables.SOUNDSCAPE_FOLDS.read(Col.SOUNDSCAPE)
    if not soundscapes and tables.WINDOWS.read(Col.SOUNDSCAPE).merge(split).empty:
        return replace(dataset, teacher=open_teacher(member, stores[:1], examples, machine, device))
    opened = open_soundscapes(member.member.views, member.view, machine, device, is_named=soundscapes)
    clip_frames = member.view.frames(member.recipe.clip_s)
    taught, judged, of_fold = read_windows(opened.first, examples.labels, clip_frames, len(stores[0]))
    held = held_by_all(opened.stores, judged.rows)
    windows = taught.subset(held), judged.subset(held), of_fold[held]
    teacher = open_teacher(member, (stores[0], opened.first), examples, machine, device)
    return replace(dataset, soundscapes=opened, windows=windows, teacher=teacher)


def open_stores(member: ResolvedMember) -> tuple[Store, ...]:
    """The stores that a member was resolved against; a TrainError if one was rebuilt since."""
    stores = _stores(member.member.views, member.view, soundscapes=False)
    if joint_digest(stores) != member.store_digest:
        paths = ", ".join(str(store.path) for store in stores)
        raise TrainError(f"{paths}: changed after member {member.name} was resolved; run `dvc repro`")
    return stores


def open_soundscapes(
    names: Sequence[str], view: AnyView, machine: MachineParams, device: torch.device, is_named: bool = True
) -> OpenStores:
    """Open the soundscapes of a member's views; `is_named` as by stages that depend on the stores' digests.

    A StoreError if a store is not of its view.
    """
    stores = _stores(names, view, soundscapes=True, is_named=is_named)
    return OpenStores(stores, *open_multi_view(stores, device, machine))


def _stores(names: Sequence[str], view: AnyView, soundscapes: bool, is_named: bool = False) -> tuple[Store, ...]:
    opened = open_named if is_named else Store  # a member names what it is trained on itself
    pairs = zip(names, stored_views(view), strict=True)
    return tuple(opened(store_path(name, soundscapes), one) for name, one in pairs)
