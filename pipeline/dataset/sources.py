"""Further roots of recordings (`data.sources`), read as `data.root` is; what two of them hold is used once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import pandas as pd

from birdcache.audio.listing import Listing
from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError
from birdcache.joins import join_warnings
from birdcache.params.sections import DataParams, SourceParams
from birdcache.storage import AnyPath, place, reaching
from birdcache.text import counted, few
from birdcache.user_tables import mapped
from cache.report_tables import REFUSED
from cache.tables import SOURCES, Col
from pipeline.dataset.birdclef import UNLISTED, TableParams, audio_folder, read_birdclef
from pipeline.dataset.folders import Listed, list_named, listed_files, read_folders, without_systems_own
from pipeline.dataset.matches import TAUGHT, unlisted_warnings

SAME_SOUND = "holds the sound of"  # another recording, in the reason why one is not used


def root_folder(text: str, key: str) -> AnyPath:
    """The place of a root that `key` of params.yaml names; errors as in `pipeline.dataset.metadata.read_metadata`."""
    root = place(text)
    with reaching(root):
        if root.is_dir():
            return root
    raise PipelineError(f"{root}: no such folder; correct {key} in params.yaml (`dvc repro` makes the demo data)")


def read_listed(data: TableParams, bounds: Bounds, apart: Sequence[str], warn: Callable[[str], None]) -> Listed:
    """The recordings that a root lists but for those in the folders `apart`; layout `annotations` lists none."""
    if data.layout == "birdclef":
        return without_systems_own(*read_birdclef(bounds, data, warn))
    if data.layout == "folders":
        return read_folders(bounds, apart, warn)
    return listed_files(bounds.root, list_named(bounds.root, bounds) if data.layout == "files" else Listing())


def roots(data: DataParams) -> dict[str, str]:
    """The root of each source by its key in params.yaml, that of the main one first."""
    return {"data.root": data.root} | {f"data.sources.{name}.root": each.root for name, each in data.sources.items()}


def read_sources(data: DataParams, own: Iterable[str], warnings: list[str]) -> list[Listed]:
    """The recordings of each source, called <source>/<path>, which none of data.root's `own` may be."""
    named = roots(data)
    real = {key: (text if "://" in text else os.path.realpath(text)).rstrip("/") + "/" for key, text in named.items()}
    for one, other in combinations(named, 2):
        if real[one].startswith(real[other]) or real[other].startswith(real[one]):
            both = f"{one} ({named[one]}) and {other} ({named[other]})"
            raise PipelineError(f"params.yaml: {both} hold the same files; name folders of which none lies in another")
    for name in data.sources:
        if taken := next((each for each in own if each.startswith(f"{name}/")), ""):
            raise PipelineError(f"params.yaml: data.sources.{name}: {taken} of data.root is called so; rename it")
    return [_read_source(f"data.sources.{name}", source, data, warnings) for name, source in data.sources.items()]


def _read_source(key: str, source: SourceParams, data: DataParams, warnings: list[str]) -> Listed:
    bounds, name = Bounds(root_folder(source.root, f"{key}.root"), data.links), key.rpartition(".")[2]
    listed = read_listed(source, bounds, (), warnings.append)
    table = listed.recordings
    if source.layout == "birdclef":
        warnings += unlisted_warnings(audio_folder(bounds, source), bounds, table[Col.PATH], (), UNLISTED)
    called = {listed.codes.get(old, old): new for old, new in source.labels.items()}
    table = _labelled(table, source, called, key, warnings)
    is_out, is_low = table[Col.LABEL] == "", table[Col.RATING].between(0, source.least_rating, inclusive="neither")
    for rows, verb, why in ((is_out, "have", "a label called null"), (is_low, "are", "rated below least_rating")):
        warnings += [f"{key}: {counted(rows.sum(), 'recordings', verb)} {why}: left out"] if rows.any() else []
    table = table.assign(recording=f"{name}/" + table[Col.RECORDING], source=name)[~(is_out | is_low)]
    if table.empty:
        raise PipelineError(f"params.yaml: {key}: none of {len(is_out)} recordings in {source.root} is left")
    if source.knows is not None and (beyond := sorted({*table[Col.LABEL]} - {*source.knows})):
        raise PipelineError(f"params.yaml: {key}.knows lacks {few(beyond)}, which its own recordings have; add them")
    return replace(listed, recordings=table, names=listed.names.rename(index=lambda label: called.get(label) or label))


def _labelled(
    table: pd.DataFrame, source: SourceParams, called: Mapping[str, str | None], key: str, warnings: list[str]
) -> pd.DataFrame:
    """Recordings with labels as `called` here, "" for those that are to be left out."""
    if source.label is not None:
        return table.assign(label=source.label, secondary="")
    there = {*table[Col.LABEL], *(word for text in table[Col.SECONDARY].unique() for word in text.split())}
    found, hint = [old in there for old in called], "correct or remove them"
    warnings += join_warnings(f"labels of {key}.labels", list(called), found, there, "a label there", hint)

    def others(text: str) -> str:
        new = [called.get(word, word) for word in text.split()]
        return " ".join(word for word in new if word and " " not in word and word in (source.knows or new))

    label = table[Col.LABEL].map(lambda label: called.get(label, label) or "")
    return table.assign(label=label.astype(str), secondary=mapped(table[Col.SECONDARY], others).astype(str))


def used_once(recordings: pd.DataFrame, sources: Sequence[str], warnings: list[str]) -> pd.DataFrame:
    """Scanned recordings, each sound of the first source that holds it: the others' have the code `not-used`."""
    ordered = recordings.sort_values(Col.SOURCE, key=lambda names: names.map(["", *sources].index), kind="stable")
    first = ordered.groupby(Col.SOUND)[[Col.SOURCE, Col.RECORDING]].transform("first").sort_index()
    is_again = (recordings[Col.SOUND] != "") & (recordings[Col.SOURCE] != first[Col.SOURCE])
    for name, again in recordings[is_again].groupby(Col.SOURCE):
        also = f"{counted(len(again), 'recordings', 'are')} in data.root or an earlier source too, and used once"
        warnings.append(f"data.sources.{name}: {also}, first {again[Col.RECORDING].iloc[0]}; see {REFUSED.path}")
    hint = "nothing needs to be done: data.root comes first, then data.sources in their order"
    why = {Col.CODE: "not-used", Col.DETAIL: f"{SAME_SOUND} " + first[Col.RECORDING], Col.HINT: hint}
    return recordings.assign(**{name: recordings[name].where(~is_again, text) for name, text in why.items()})


def sources_table(sources: Mapping[str, SourceParams], labels: Sequence[str], warnings: list[str]) -> pd.DataFrame:
    """Rows of `cache.tables.SOURCES`; `labels` are the classes, of which each source must know one."""
    rows = []
    for name, each in sources.items():
        knows, key = each.knows or [], f"labels of data.sources.{name}.knows"
        warnings += join_warnings(key, knows, [label in labels for label in knows], labels, TAUGHT, "correct them")
        rows.append((name, each.weight, ";".join(label for label in labels if label in knows), int(each.validated)))
    return pd.DataFrame(rows, columns=list(SOURCES.columns))
