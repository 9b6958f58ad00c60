"""Folds of the soundscapes with labelled windows: whole sites, in shares as even as they allow.

S soundscape, G group, F fold; L column: the windows, and those in which each label is heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from birdcache.arrays import Ints
from birdcache.params.sections import FoldsParams
from cache.tables import Col
from pipeline.dataset.fold_summary import UNEVEN_ABOVE
from pipeline.dataset.groups import joined

WAY_OUT = "set data.soundscape_names, put each site's files into a folder of its name, or set folds.soundscapes: each"


def split_soundscapes(soundscapes: pd.DataFrame, windows: pd.DataFrame, folds: FoldsParams) -> pd.DataFrame:
    """The soundscapes with windows, and a fold and a group for each: what is held out together.

    Parameters
    ----------
    soundscapes, windows : as in `cache.tables.SOUNDSCAPES` and `cache.tables.WINDOWS`.

    Returns
    -------
    Rows of `cache.tables.SOUNDSCAPE_FOLDS`. Of fewer groups than folds, the last folds hold none.
    """
    table = soundscapes[soundscapes[Col.SOUNDSCAPE].isin(windows[Col.SOUNDSCAPE])].reset_index(drop=True)
    if table.empty:
        return table.assign(fold=0, group=0)
    group_S = joined([_place(table, folds.soundscapes), table[Col.SOUND]])
    counts_SL = window_counts(windows).loc[table[Col.SOUNDSCAPE]].to_numpy()
    counts_GL = np.zeros((group_S.max() + 1, counts_SL.shape[1]), np.int64)
    np.add.at(counts_GL, group_S, counts_SL)
    return table.assign(fold=even_folds(counts_GL, folds.count, folds.seed)[group_S], group=group_S)


def _place(table: pd.DataFrame, apart: str) -> pd.Series[str]:
    """What a soundscape shares with others that it must not be parted from, "" for nothing.

    Of an unknown site, all that was recorded on one day may be of one place and weather.
    """
    site, date = table[Col.SITE], table[Col.DATE]
    if apart == "each":
        return pd.Series("", table.index)
    day = "day " + date.where(date != "", None)
    whole = "site " + site
    return (whole if apart == "site" else whole + day.fillna("")).where(site != "", day).fillna("")


def window_counts(windows: pd.DataFrame) -> pd.DataFrame:
    """Windows of each soundscape (row): all of them (column ""), and those in which each label is heard."""
    sizes = windows.groupby(Col.SOUNDSCAPE).size()
    heard = windows.assign(label=windows[Col.LABELS].str.split()).explode("label").dropna(subset=["label"])
    table = pd.crosstab(heard[Col.SOUNDSCAPE], heard["label"]).reindex(sizes.index, fill_value=0)
    table.insert(0, "", sizes)
    return table


def even_folds(counts_GL: Ints, count: int, seed: int) -> Ints:
    """Spread groups over folds, the largest first, each to where it leaves the windows and every label most even.

    The first `count` groups go to different folds. Windows weigh as much as all labels together; the seed decides
    between groups of equal size.

    Source: StratifiedGroupKFold of scikit-learn, here for windows with several labels.
    """
    weight_L = np.ones(counts_GL.shape[1])
    weight_L[0] = max(1, counts_GL.shape[1] - 1)
    share_GL = counts_GL / np.maximum(counts_GL.sum(axis=0), 1) * weight_L
    order = np.random.default_rng(seed).permutation(len(counts_GL))
    fold_G, held_FL = np.zeros(len(counts_GL), np.int64), np.zeros((count, counts_GL.shape[1]))
    for group in order[np.argsort(-share_GL[order].sum(axis=1).round(9), kind="stable")]:
        unevenness = [(held_FL + np.eye(count)[:, [fold]] * share_GL[group]).std(axis=0).sum() for fold in range(count)]
        fold_G[group] = np.lexsort((held_FL[:, 0], np.round(unevenness, 9)))[0]
        held_FL[fold_G[group]] += share_GL[group]
    return fold_G


def fold_contents(split: pd.DataFrame, windows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Soundscapes, known sites, windows, and labels heard in them, of each fold (row, 0 to count - 1)."""
    counts = window_counts(windows).groupby(split.set_index(Col.SOUNDSCAPE)[Col.FOLD]).sum()
    counts = counts.reindex(range(count), fill_value=0)
    grouped = split[split[Col.SITE] != ""].groupby(Col.FOLD)
    sizes = {"soundscapes": split.groupby(Col.FOLD).size(), "sites": grouped[Col.SITE].nunique()}
    labels = (counts.drop(columns="") > 0).sum(axis=1)
    return (
        pd.DataFrame(sizes, index=counts.index).fillna(0).astype(int).assign(windows=counts[""], window_labels=labels)
    )


def summarise_soundscapes(
    split: pd.DataFrame, windows: pd.DataFrame, learnt: set[str], folds: FoldsParams
) -> dict[str, Any]:
    """Say what the folds hold of soundscapes and what is odd in it.

    Parameters
    ----------
    split, windows : from `split_soundscapes`, and as in `cache.tables.WINDOWS`.
    learnt : labels that recordings teach.

    Returns
    -------
    Plain values for JSON; `warnings` are sentences.
    """
    contents = fold_contents(split, windows, folds.count)
    sites = split.loc[split[Col.SITE] != "", Col.SITE].nunique()
    told = f"{len(split)} soundscapes with {len(windows)} labelled windows at {sites} sites"
    return {
        "summary": f"{told} in {(contents['windows'] > 0).sum()} folds (folds.soundscapes: {folds.soundscapes})",
        "warnings": list(_warnings(split, contents, windows, learnt, folds)) if len(split) else [],
        "by_fold": contents.to_dict(orient="index"),
    }


def _warnings(
    split: pd.DataFrame, contents: pd.DataFrame, windows: pd.DataFrame, learnt: set[str], folds: FoldsParams
) -> Iterator[str]:
    unknown = split.loc[split[Col.SITE] == "", Col.SOUNDSCAPE]
    if len(unknown) and folds.soundscapes != "each":
        yield (
            f"the site of {len(unknown)} of {len(split)} soundscapes with windows is not known, first "
            f"{unknown.iloc[0]}: only those of one day share a fold; {WAY_OUT}"
        )
    if empty := list(contents.index[contents["windows"] == 0]):
        yield (
            f"{split[Col.GROUP].nunique()} group(s) of soundscapes (folds.soundscapes: {folds.soundscapes}) are fewer "
            f"than {folds.count} folds: no window examines fold {', '.join(map(str, empty))}; label windows of more "
            "sites, or set folds.soundscapes: each, which parts sites"
        )
    elif contents["windows"].max() > UNEVEN_ABOVE * contents["windows"].mean():
        yield (
            f"the folds are uneven, {contents['windows'].min()} to {contents['windows'].max()} labelled windows: some "
            "sites have many; try fewer folds"
        )
    counts = window_counts(windows).groupby(split.set_index(Col.SOUNDSCAPE)[Col.FOLD]).sum().drop(columns="")
    alone = [label for label in counts if label not in learnt and (counts[label] > 0).sum() == 1]
    if alone:
        yield (
            f"{len(alone)} label(s) without recordings are heard in windows of one fold alone, first {alone[0]}: they "
            "are examined there without having been learnt"
        )
