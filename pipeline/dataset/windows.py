"""Labelled windows that teach and examine: those of usable soundscapes, none of which judges as well."""

from collections.abc import Callable

import pandas as pd

from birdcache.annotations.read import ROUNDED_S
from birdcache.errors import PipelineError
from cache.tables import Col


def windows_table(
    windows: pd.DataFrame, exam: pd.DataFrame, soundscapes: pd.DataFrame, warn: Callable[[str], None]
) -> pd.DataFrame:
    """The windows that lie in usable soundscapes: rows of `cache.tables.WINDOWS`. Others are counted in a warning.

    Parameters
    ----------
    windows, exam : of data.soundscape_labels and data.soundscape_truth, from `read_windows`.
    soundscapes : all that are there, with the columns of `pipeline.dataset.scan.Scan`, and sound.

    Raises
    ------
    PipelineError
        If a soundscape is in both tables, or one that holds the same sound.
    """
    usable = soundscapes[soundscapes[Col.CODE] == ""].set_index(Col.SOUNDSCAPE)
    sounds, judges = usable[Col.SOUND], usable[Col.SOUND][usable.index.isin(exam[Col.SOUNDSCAPE])]
    both = windows.loc[windows[Col.SOUNDSCAPE].map(sounds).isin(judges), Col.SOUNDSCAPE].unique()
    if len(both):
        other = judges.index[judges == sounds[both[0]]][0]
        twin = "" if other == both[0] else f", as {other}, which holds the same sound"
        raise PipelineError(
            f"{len(both)} soundscape(s) of data.soundscape_labels are in data.soundscape_truth too, first {both[0]}"
            f"{twin}: what a model learns cannot judge it; remove their rows from one of the tables"
        )
    duration_s = windows[Col.SOUNDSCAPE].map(usable[Col.DURATION_S]).astype(float)
    behind = windows[Col.END_S] > duration_s + ROUNDED_S
    refused = windows.loc[duration_s.isna() & windows[Col.SOUNDSCAPE].isin(soundscapes[Col.SOUNDSCAPE]), Col.SOUNDSCAPE]
    if len(refused):
        warn(
            f"{len(refused)} of {len(windows)} labelled windows are of refused soundscapes, first "
            f"{refused.iloc[0]}; see reports/data/refused.csv"
        )
    if behind.any():
        name, end_s = windows.loc[behind, [Col.SOUNDSCAPE, Col.END_S]].iloc[0]
        told = f"{name}, which lasts {duration_s[behind].iloc[0]:.6g} s, at {end_s:g} s"
        warn(f"{behind.sum()} of {len(windows)} labelled windows end behind their soundscapes, first of {told}")
    kept = windows[duration_s.notna() & ~behind]
    return kept.sort_values([Col.SOUNDSCAPE, Col.START_S, Col.END_S], ignore_index=True)
