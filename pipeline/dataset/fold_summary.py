"""Summary of a split by stage `folds`: a row per fold, and who crosses folds."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from birdcache.params.sections import FoldsParams
from birdcache.text import counted
from cache.tables import Col
from pipeline.dataset.groups import NEVER_VALIDATED, largest_group

UNEVEN_ABOVE = 1.5  # times an even share


def label_counts(folds: pd.DataFrame, count: int) -> pd.DataFrame:
    """Recordings of each label (row) in each fold (column, from -1 to count - 1), most frequent label first."""
    table = pd.crosstab(folds[Col.LABEL], folds[Col.FOLD]).reindex(columns=range(NEVER_VALIDATED, count), fill_value=0)
    return table.loc[sorted(table.index, key=lambda label: (-table.loc[label].sum(), label))]


def fold_rows(folds: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """One row per fold, -1 first: `cache.report_tables.FOLD_SUMMARY` without what `soundscape_rows` gives.

    Parameters
    ----------
    folds : the recordings with their fold and group.
    counts : from `label_counts`.
    """
    by_fold, known = folds.groupby(Col.FOLD), folds[folds[Col.AUTHOR] != ""]
    lacking = counts.drop(columns=NEVER_VALIDATED) == 0
    columns = {
        "recordings": by_fold.size(),
        "hours": (by_fold[Col.DURATION_S].sum() / 3600).round(3),
        "groups": by_fold[Col.GROUP].nunique(),
        "authors": known.groupby(Col.FOLD)[Col.AUTHOR].nunique(),
        "labels": (counts > 0).sum(),
        "labels_without": lacking[~lacking.all(axis=1)].sum(),
        "labels_untrained": pd.Series({fold: len(names) for fold, names in _untrained(counts).items()}, dtype=int),
    }
    rows = pd.DataFrame({name: each.reindex(counts.columns, fill_value=0) for name, each in columns.items()})
    return rows.reset_index(names=Col.FOLD)


def _untrained(counts: pd.DataFrame) -> dict[Any, list[str]]:
    """Labels that only one fold holds, by the fold that validates them."""
    only = counts[counts.max(axis=1) == counts.sum(axis=1)].drop(columns=NEVER_VALIDATED)
    return {fold: sorted(only.index[held > 0]) for fold, held in only.items() if held.any()}


def summarise(folds: pd.DataFrame, counts: pd.DataFrame, origin: str, rare: dict[str, str]) -> dict[str, Any]:
    """Say how the split came about and what is odd in it.

    Parameters
    ----------
    folds : the recordings with their fold and group.
    counts : from `label_counts`.
    origin : where the folds come from.
    rare : labels that are never validated, and why.

    Returns
    -------
    Plain values for JSON. `crossing` names every group that lies in more than one fold: their recordists are met
    in training and in validation. `crossing_sounds` names recordings of the same sound in different folds.
    """
    validated = int((folds[Col.FOLD] != NEVER_VALIDATED).sum())
    crossing, shared = _crossing(folds), folds[folds[Col.SOUND].duplicated(keep=False)].groupby(Col.SOUND)
    split = [group for _, group in shared if len({*group[Col.FOLD]}) > 1]  # only ready folds hold such
    named = [dict(zip(group[Col.RECORDING], map(int, group[Col.FOLD]), strict=True)) for group in split]
    sounds = sorted(named, key=lambda folds_of: next(iter(folds_of)))
    columns = {fold: "never" if fold == NEVER_VALIDATED else str(fold) for fold in counts}
    return {
        "summary": f"{validated} of {len(folds)} recordings validated in {len(columns) - 1} folds ({origin})",
        "warnings": list(_warnings(counts, crossing, sounds, largest_group(folds, folds[Col.GROUP].to_numpy()))),
        "origin": origin,
        "recordings": {"validated": validated, "never_validated": len(folds) - validated},
        "groups": {"count": folds[Col.GROUP].nunique(), "largest": int(folds[Col.GROUP].value_counts().max())},
        "crossing": crossing,
        "crossing_sounds": sounds,
        "labels_never_validated": rare,
        "labels_untrained": {columns[fold]: names for fold, names in _untrained(counts).items()},
        "recordings_of_label_by_fold": counts.rename(columns=columns).to_dict(orient="index"),
    }


def _warnings(
    counts: pd.DataFrame, crossing: list[dict[str, Any]], sounds: list[dict[str, int]], largest: str
) -> Iterator[str]:
    if sounds:
        yield (
            f"{counted(len(sounds), 'sounds', 'cross')} folds, first {' and '.join(sounds[0])}: learnt and validated; "
            f"see `crossing_sounds`, and remove all but one, or set folds.use_ready: false"
        )
    if crossing:
        known = "validation knows their recordists; see `crossing` in reports/folds/summary.json"
        yield f"{counted(len(crossing), 'groups', 'cross')} folds: {known}"
    folds = counts.drop(columns=NEVER_VALIDATED)
    for fold in folds if len(counts) > 1 else ():
        left = counts.index[counts.drop(columns=fold).sum(axis=1) > 0]
        if len(left) < 2:
            yield f"without fold {fold}, {left[0]} is the only class left to learn; add recordings of others"
    if alone := _untrained(counts):
        fold, names = next(iter(alone.items()))
        yield (
            f"{sum(map(len, alone.values()))} class(es) lie in one fold alone, first {names[0]} in fold {fold}: they "
            "are validated there without having been learnt"
        )
    if never := sorted(folds.index[folds.sum(axis=1) == 0]):
        yield f"{len(never)} of {len(folds)} classes are never validated, first {never[0]}: no metric is about them"
    for fold in folds:
        present = folds.index[folds[fold] > 0]
        if len(present) == 1 < len(counts):
            yield f"fold {fold} validates {present[0]} alone: its ROC-AUC is nan, and its accuracy only the share found"
    sizes = folds.sum()
    if sizes.max() > UNEVEN_ABOVE * sizes.mean():
        uneven = f"the folds are uneven, {sizes.min()} to {sizes.max()} recordings: some groups are large"
        yield f"{uneven}, the largest {largest}; try fewer folds"


def _crossing(folds: pd.DataFrame) -> list[dict[str, Any]]:
    """The groups that lie in more than one fold: authors, and recordings in each fold."""
    crossing = folds[folds.groupby(Col.GROUP)[Col.FOLD].transform("nunique") > 1]
    return [
        {
            "group": int(members[Col.GROUP].iloc[0]),
            "authors": sorted(set(members[Col.AUTHOR]) - {""}),
            "first_recording": members[Col.RECORDING].iloc[0],
            "recordings_by_fold": {str(fold): int(n) for fold, n in members.groupby(Col.FOLD).size().items()},
        }
        for _, members in crossing.groupby(Col.GROUP)
    ]


def soundscape_rows(split: pd.DataFrame, windows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Soundscapes with windows, their known sites, windows and labels heard in them: a row per fold, -1 first."""
    by_fold, held = split.groupby(Col.FOLD), windows.merge(split[[Col.SOUNDSCAPE, Col.FOLD]]).groupby(Col.FOLD)
    columns = {
        "soundscapes": by_fold.size(),
        "sites": by_fold[Col.SITE].agg(lambda sites: len({*sites} - {""})),
        "windows": held.size(),
        "window_labels": held[Col.LABELS].agg(lambda cells: len({*" ".join(cells).split()})),
    }
    folds = range(NEVER_VALIDATED, count)
    return pd.DataFrame({name: each.astype(int).reindex(folds, fill_value=0) for name, each in columns.items()})


def summarise_soundscapes(split: pd.DataFrame, windows: pd.DataFrame, folds: FoldsParams) -> dict[str, Any]:
    """As `summarise`, of soundscapes with windows."""
    sites, groups = {*split[Col.SITE]} - {""}, split[Col.GROUP].nunique()
    key = f"folds.soundscapes: {folds.soundscapes}"
    unknown, warnings = split.loc[split[Col.SITE] == "", Col.SOUNDSCAPE], []
    if len(unknown) and folds.soundscapes != "each":
        first = f"{len(unknown)} of {len(split)} soundscapes with windows, first {unknown.iloc[0]}"
        way_out = "set data.soundscape_names, or move them into folders of their sites"
        warnings.append(f"the site is not known of {first}: only those of one day share a fold; {way_out}")
    if 0 < groups < folds.count:
        way_out = "label windows of more sites, or set folds.soundscapes: each, which parts sites"
        told = f"soundscapes with windows are {counted(groups, 'groups')} ({key}), fewer than {folds.count} folds"
        warnings.append(f"{told}: {counted(folds.count - groups, 'folds', 'have')} no window; {way_out}")
    held = f"{counted(len(split), 'soundscapes')} with {counted(len(windows), 'labelled windows')}"
    where = f"{counted(len(sites), 'sites')}, in {counted(min(groups, folds.count), 'folds')} ({key})"
    return {"summary": f"{held}, {where}", "warnings": warnings}
