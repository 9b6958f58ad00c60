"""Files that stand for themselves: recordings in folders, each the name of a class, and soundscapes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pandas as pd

from birdcache.audio.listing import NAME_HINT, Listing, list_audio
from birdcache.audio.paths import LINKS_HINT, Bounds
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.walk import is_systems_own
from birdcache.errors import PipelineError
from birdcache.formulas import starts_formula
from birdcache.params.sections import DataParams
from birdcache.storage import AnyPath
from birdcache.text import counted, few
from birdcache.user_tables import colliding
from cache.tables import NAMES, Col
from pipeline.dataset.annotated import unlabelled
from pipeline.dataset.classes import class_names

SYSTEMS_OWN = (
    "its name is one that systems give to files of their own, such as macOS's ._robin.ogg",
    "remove its row, or rename it if it is a recording",
)


@dataclass(frozen=True)
class Listed:
    """Recordings by a layout's own list."""

    recordings: pd.DataFrame  # as in `pipeline.dataset.metadata.Metadata`
    names: pd.DataFrame  # what the list says of its labels, as in a taxonomy
    files: Listing = field(default_factory=Listing)  # the files that it was made of, and those that were left out
    codes: Mapping[str, str] = field(default_factory=dict)  # the label of each folder


def read_folders(bounds: Bounds, soundscapes: Sequence[str], warn: Callable[[str], None]) -> Listed:
    """List the recordings below the root; those in folders of soundscapes are none.

    The first folder is the class, and nothing else is known.

    A PipelineError if classes are alike but for case: only their owner knows whether they are one.
    """
    root = bounds.root
    files = list_named(root, bounds, without=[root / name for name in soundscapes])
    reason = ("not-used", "lies beside the folders of the classes", "move each into the folder of its class")
    files = files.setting_aside(lambda path: len(inside(root, path).parts) == 1, reason)
    names = [inside(root, path) for path in files.used]
    classes = class_names(dict.fromkeys(name.parts[0] for name in names))
    if alike := _alike(list(classes)):
        raise PipelineError(f"{root}: folders {few(alike)} are alike but for case; rename or join them")
    coded = {folder: each for folder, each in classes.items() if each.code != folder}
    if coded:
        folder, each = next(iter(coded.items()))
        warn(f"codes replace {counted(len(coded), 'folder names')} unfit as labels, such as {each.code} for {folder}")
    labels = pd.Series([classes[name.parts[0]].code for name in names], dtype=str)
    taxonomy = {name: [getattr(each, name) for each in coded.values()] for name in NAMES}
    index = [each.code for each in coded.values()]
    codes = {folder: each.code for folder, each in classes.items()}
    table = listed_files(root, files).recordings.assign(label=labels)
    return Listed(table, pd.DataFrame(taxonomy, index, dtype=str), files, codes)


def listed_files(root: AnyPath, files: Listing) -> Listed:
    """Files below the root as recordings of which nothing is known."""
    rows = [(str(inside(root, path)), path.as_posix()) for path in files.used]
    table = unlabelled(pd.DataFrame(rows, columns=[Col.RECORDING, Col.PATH], dtype=str))
    return Listed(table, pd.DataFrame(columns=[*NAMES]), files)


def without_systems_own(recordings: pd.DataFrame, names: pd.DataFrame) -> Listed:
    """The recordings of a table, but for those whose names are of a system's own files."""
    is_own = recordings[Col.RECORDING].map(lambda name: any(map(is_systems_own, name.split("/")))).astype(bool)
    own = tuple(RejectedAudio("not-used", *SYSTEMS_OWN, path) for path in recordings.loc[is_own, Col.PATH])
    return Listed(recordings[~is_own], names, Listing(left_out=own))


def soundscape_folders(data: DataParams) -> list[str]:
    """The folders of soundscapes below the root, none to several."""
    if isinstance(data.soundscapes, list):
        return data.soundscapes
    return [] if data.soundscapes is None else [data.soundscapes]


def list_soundscapes(bounds: Bounds, folders: Sequence[str]) -> tuple[dict[str, AnyPath], Listing]:
    """The soundscapes by their names, which begin their row ids, and all files in their folders.

    A name is that of the file without extension; where files in several folders share it, their path, parted by _.

    A PipelineError if there is no such folder, or it lies elsewhere.
    """
    listings = {folder: _list_soundscapes(bounds.root / folder, bounds) for folder in folders}
    listing = Listing(
        tuple(path for each in listings.values() for path in each.used),
        tuple(rejected for each in listings.values() for rejected in each.left_out),
        sum(each.others for each in listings.values()),
    )
    paths = {
        path: "_".join(inside(bounds.root / folder, path).with_suffix("").parts)
        for folder, each in listings.items()
        for path in each.used
    }
    shared = Counter(stem for stem, _ in {(path.stem, long) for path, long in paths.items()})
    names = {path: path.stem if shared[path.stem] == 1 else long for path, long in paths.items()}
    first = {called: path for path, called in reversed(names.items())}
    listing = listing.setting_aside(
        lambda path: first[names[path]] != path, ("unreadable", "would share its row_ids with another file", NAME_HINT)
    )
    return dict(sorted((names[path], path) for path in listing.used)), listing


def _list_soundscapes(folder: AnyPath, bounds: Bounds) -> Listing:
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder; correct data.soundscapes in params.yaml, or set it to null")
    if outside := bounds.why_outside(folder):
        raise PipelineError(f"{folder}: {outside}; {LINKS_HINT}")
    return list_named(folder, bounds).setting_aside(
        lambda path: starts_formula(path.name),
        ("unreadable", "its name begins with = + - or @, and so would row_ids, which spreadsheets compute", NAME_HINT),
    )


def list_named(folder: AnyPath, bounds: Bounds, without: Sequence[AnyPath] = ()) -> Listing:
    """Files whose names can stand in a table, where \\ would be a path's."""
    reason = ("unreadable", "its name holds a \\, which parts the folders of a path elsewhere", NAME_HINT)
    return list_audio(folder, bounds, without).setting_aside(lambda path: "\\" in str(inside(folder, path)), reason)


def inside(root: AnyPath, path: AnyPath) -> PurePosixPath:
    """A path as seen from the root."""
    return PurePosixPath(path.as_posix().removeprefix(root.as_posix()).lstrip("/"))


def alike_warning(files: Sequence[str]) -> list[str]:
    """A warning of files that another disk would take for one."""
    alike = _alike(files)
    if not alike:
        return []
    told = f"{len(alike)} files differ from others in case or Unicode form only, such as {few(alike, 2)}"
    return [f"{told}; a disk that does not tell them apart, as of macOS and Windows, would lose some: rename them"]


def _alike(names: Sequence[str]) -> list[str]:
    column = pd.Series(names, dtype=str)
    return list(column[colliding(column)])
