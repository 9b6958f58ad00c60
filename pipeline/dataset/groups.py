"""Groups of recordings that a split must not part, and recordings that must stay in training. Axis N: recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from birdcache.arrays import Bools, Ints
from cache.tables import Col

NEVER_VALIDATED = -1  # the fold of recordings that stay in training
PLACE_DECIMALS = 3  # of a degree: about 100 m
VALIDATED_AT_LEAST = 0.8  # of the recordings of labels that are common enough


def group_recordings(recordings: pd.DataFrame) -> Ints:
    """Number the groups of recordings that share a recordist, a content, or a place and day.

    Two recordings belong together if they have the same author, the same sound (`pipeline.dataset.duplicates`), or the
    same latitude and longitude (to 0.001 degrees) and date, directly or through others. What is unknown links nothing.

    Parameters
    ----------
    recordings : with columns author, sound, latitude, longitude, date; N rows.

    Returns
    -------
    (N,) int64, groups numbered from 0 in order of their first recording.
    """
    return tie([recordings[Col.AUTHOR], recordings[Col.SOUND], _place_and_day(recordings)])


def tie(keys: Sequence[pd.Series[str]]) -> Ints:
    """Tie rows that share a key ("" is none), directly or through others, to groups, numbered by their first rows."""
    rows = pd.Series(range(len(keys[0])))
    texts = [key.to_numpy() for key in keys]
    # each row with the first one that has its key, and one without a key with itself
    firsts = [rows.groupby(text, sort=False).transform("min").where(text != "", rows) for text in texts]
    links = np.tile(rows, len(keys)), np.concatenate(firsts)
    graph = coo_array((np.ones(len(links[0])), links), shape=(len(rows), len(rows)))
    _, component_N = connected_components(graph, directed=False)
    return np.asarray(pd.factorize(component_N)[0], dtype=np.int64)


def largest_group(recordings: pd.DataFrame, group_N: Ints) -> str:
    """The largest group in words: its size, a recording of it, and what holds most of it together.

    Parameters
    ----------
    recordings, group_N : as in and from `group_recordings`.
    """
    groups, sizes = np.unique(group_N, return_counts=True)
    members = recordings[group_N == groups[sizes.argmax()]]
    keys = {"author": members[Col.AUTHOR], "place and day": _place_and_day(members), "one sound,": members[Col.SOUND]}
    commonest = {name: key[key != ""].value_counts().head(1) for name, key in keys.items()}
    why = [f"{name} {key} ({n})" for name, counts in commonest.items() for key, n in counts.items() if n > 1]
    held = f", held together by {', '.join(why)}" if why else ""
    return f"{len(members)} of {len(recordings)} recordings, such as {members[Col.RECORDING].iloc[0]}{held}"


def _place_and_day(recordings: pd.DataFrame) -> pd.Series[str]:
    """Place and day as one text, "" where either is unknown."""
    latitude = recordings[Col.LATITUDE].round(PLACE_DECIMALS) + 0.0  # no minus zero
    longitude = recordings[Col.LONGITUDE].round(PLACE_DECIMALS) + 0.0
    key = latitude.astype(str) + " " + longitude.astype(str) + " " + recordings[Col.DATE]
    return key.where(latitude.notna() & longitude.notna() & (recordings[Col.DATE] != ""), "")


def rare_labels(label_N: pd.Series[str], group_N: Ints, fewest: int) -> dict[str, str]:
    """The labels that cannot be validated, and why.

    Parameters
    ----------
    label_N, group_N : label and group of each recording.
    fewest : labels with fewer recordings are too rare.

    Returns
    -------
    Label -> reason, sorted by label. A label within a single group is in it, too: its recordings cannot be both
    learnt and validated without parting the group.
    """
    table = pd.Series(group_N).groupby(label_N.to_numpy())
    reasons = {}
    for label, (recordings, groups) in table.agg(["size", "nunique"]).iterrows():
        if recordings < fewest:
            reasons[str(label)] = f"fewer recordings ({recordings}) than folds.fewest_to_validate ({fewest})"
        elif groups < 2:
            reasons[str(label)] = f"all {recordings} recordings belong to one group (author, content, or place and day)"
    return reasons


def keep_in_training(is_rare_N: Bools, group_N: Ints, sound_N: pd.Series[str]) -> Bools:
    """The recordings that are never validated.

    These are all recordings of rare labels and, so that no recordist is learnt in training and met again in
    validation, the other recordings of their groups: group after group, from the one that costs the fewest, as
    long as `VALIDATED_AT_LEAST` of the recordings of common labels can still be validated. The groups beyond
    that are parted: their rare recordings stay in training, and so does what sounds the same; the others are validated.

    Parameters
    ----------
    is_rare_N, group_N, sound_N : whether a recording's label is rare, its group, and its sound.

    Returns
    -------
    (N,) bool.
    """
    groups = int(group_N.max()) + 1
    common_G = np.bincount(group_N[~is_rare_N], minlength=groups)
    has_rare_G = np.bincount(group_N[is_rare_N], minlength=groups) > 0
    mixed = np.flatnonzero(has_rare_G & (common_G > 0))
    mixed = mixed[np.argsort(common_G[mixed], kind="stable")]
    affordable = int((1 - VALIDATED_AT_LEAST) * common_G.sum() + 1e-9)
    whole = mixed[np.cumsum(common_G[mixed]) <= affordable]
    kept_N: Bools = is_rare_N | np.isin(group_N, whole)
    return kept_N | sound_N.isin(sound_N[kept_N]).to_numpy()
