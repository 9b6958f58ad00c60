"""Stage `folds`: what validates each training, without leaking a recordist or a site. Axis N: recording.

Run as `python -m pipeline.folds`. `train` of fold k learns from every recording whose fold is not k, so
recordings of fold -1 are learnt in every fold and validated in none; likewise from windows of soundscapes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from birdcache.arrays import Bools, Ints
from birdcache.errors import PipelineError, run_stage
from birdcache.files import write_report
from birdcache.params import load as params
from birdcache.params.sections import FoldsParams
from birdcache.text import counted
from cache import report_tables, tables
from cache.tables import Col
from pipeline.dataset.fold_summary import fold_rows, label_counts, soundscape_rows, summarise, summarise_soundscapes
from pipeline.dataset.groups import NEVER_VALIDATED, group_recordings, keep_in_training, largest_group, rare_labels, tie

SUMMARY = Path("reports/folds/summary.json")


@dataclass(frozen=True)
class Split:
    """A fold and a group for each recording."""

    fold: Ints  # (N,), 0 to count - 1, or -1: never validated
    group: Ints  # (N,), recordings of a group belong together (`pipeline.dataset.groups.group_recordings`)
    rare: dict[str, str]  # labels that are never validated, and why
    origin: str  # where the folds come from, for the report


def main() -> None:
    """Read the recordings and the soundscapes with windows, split them, write the folds and the report."""
    settings = params.load().folds
    recordings = tables.RECORDINGS.read()
    sources = tables.SOURCES.read(Col.SOURCE, Col.VALIDATED)
    split = split_recordings(recordings, settings, list(sources.loc[sources[Col.VALIDATED] == 0, Col.SOURCE]))
    folds = recordings.assign(fold=split.fold, group=split.group)
    counts = label_counts(folds, settings.count)
    windows = tables.WINDOWS.read()
    soundscapes = split_soundscapes(tables.SOUNDSCAPES.read(), windows, settings)
    tables.FOLDS.write(folds)
    tables.SOUNDSCAPE_FOLDS.write(soundscapes)
    held = soundscape_rows(soundscapes, windows, settings.count)
    report_tables.FOLD_SUMMARY.write(fold_rows(folds, counts).join(held, on=Col.FOLD))
    report = summarise(folds, counts, split.origin, split.rare)
    report["soundscapes"] = summarise_soundscapes(soundscapes, windows, settings)
    write_report(report, SUMMARY)
    for each in [report, report["soundscapes"]] if len(windows) else [report]:
        print("\nWARNING: ".join([each["summary"], *each["warnings"]]))


def split_recordings(recordings: pd.DataFrame, folds: FoldsParams, never: Sequence[str] = ()) -> Split:
    """Give each recording a fold: the ready ones if wanted and complete, else stratified by label and grouped.

    A PipelineError if the ready folds are not folds.count in number, or the recordings do not suffice for folds.count
    folds.

    Parameters
    ----------
    recordings : as in `cache.tables.RECORDINGS`.
    folds : how to split.
    never : sources whose recordings are not to be validated.
    """
    group_N = group_recordings(recordings)
    never_N, fold_N = recordings[Col.SOURCE].isin(never).to_numpy(), np.full(len(recordings), NEVER_VALIDATED)
    lacking = int(recordings[Col.FOLD][~never_N].isna().sum())
    if folds.use_ready and not lacking:
        fold_N[~never_N] = ready_folds(recordings[Col.FOLD][~never_N], folds.count)
        return Split(fold_N, group_N, {}, "ready folds of the metadata")
    origin = "stratified by label, grouped by author, content, place and day"
    if folds.use_ready and lacking < (~never_N).sum():
        origin += f" (the ready folds were not used: {lacking} of {(~never_N).sum()} recordings have none)"
    rare = rare_labels(recordings[Col.LABEL], group_N, folds.fewest_to_validate)
    is_rare_N = recordings[Col.LABEL].isin(list(rare)).to_numpy() | never_N
    kept_N = keep_in_training(is_rare_N, group_N, recordings[Col.SOUND])
    _check_enough(recordings, group_N, kept_N, rare, folds)
    fold_N[~kept_N] = stratified_folds(recordings[Col.LABEL][~kept_N], group_N[~kept_N], folds.count, folds.seed)
    return Split(fold_N, group_N, rare, origin)


def _check_enough(
    recordings: pd.DataFrame, group_N: Ints, kept_N: Bools, rare: dict[str, str], folds: FoldsParams
) -> None:
    """Refuse more folds than there are groups, or recordings of the commonest label; only what helps is advised."""
    groups = len(np.unique(group_N[~kept_N]))
    most = min(groups, int(recordings[Col.LABEL][~kept_N].value_counts().max())) if groups else 0
    if most >= folds.count:
        return
    few = sum("folds.fewest_to_validate" in reason for reason in rare.values())
    ways = [f"lower folds.count to {most}"] if most > 1 else []
    ways += [f"lower folds.fewest_to_validate ({counted(few, 'labels', 'have')} too few recordings)"] if few else []
    ways += ["empty these cells in the table of recordings if they name no single recordist or place"]
    raise PipelineError(
        f"params.yaml: folds.count = {folds.count} is too many for what can be validated, {(~kept_N).sum()} recordings "
        f"in {counted(groups, 'groups')} (by author, content, place and day); the largest group is "
        f"{largest_group(recordings, group_N)}; {', or '.join(ways)}, or add recordings by others"
    )


def ready_folds(ready: pd.Series[int], count: int) -> Ints:
    """Ready folds, renumbered from 0 in their order (from 1 in ESC); a PipelineError if they are not `count` ones."""
    values, fold_N = np.unique(ready.to_numpy(dtype=np.int64), return_inverse=True)
    if len(values) != count:
        raise PipelineError(
            f"params.yaml: folds.count = {count}, but the metadata has {len(values)} distinct ready folds "
            f"({', '.join(map(str, values[:20]))}); set folds.count to {len(values)}, or folds.use_ready to false"
        )
    return fold_N


def stratified_folds(label_N: pd.Series[str], group_N: Ints, count: int, seed: int) -> Ints:
    """Spread whole groups over folds so that each label is spread as evenly as they allow.

    A PipelineError if a fold stays empty.

    Returns
    -------
    (N,) int64 from 0 to count - 1; the same for the same seed.

    Source: scikit-learn's StratifiedGroupKFold.
    """
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold_N = np.full(len(label_N), NEVER_VALIDATED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # reports/folds/folds.csv counts such labels
        for fold, (_, validated) in enumerate(splitter.split(label_N, label_N, group_N)):
            fold_N[validated] = fold
    if len(np.unique(fold_N)) < count:
        raise PipelineError(f"params.yaml: folds.count = {count} leaves a fold without recordings; lower folds.count")
    return fold_N


def split_soundscapes(soundscapes: pd.DataFrame, windows: pd.DataFrame, folds: FoldsParams) -> pd.DataFrame:
    """The soundscapes with windows, each with a fold, and the number of what is held out with it.

    Whole sites (`folds.soundscapes`) are spread so that windows and the labels heard in them are spread evenly; there
    is none in the last folds if there are fewer sites.

    Parameters
    ----------
    soundscapes, windows : as in `cache.tables.SOUNDSCAPES` and `cache.tables.WINDOWS`.
    """
    table = soundscapes[soundscapes[Col.SOUNDSCAPE].isin(windows[Col.SOUNDSCAPE])].reset_index(drop=True)
    group_S = tie([_place(table, folds.soundscapes), table[Col.SOUND]])
    fold_G = np.arange(len(table))
    if len(np.unique(group_S)) >= folds.count:
        heard = ("windows: " + windows[Col.LABELS]).str.split().explode()
        group_N = windows[Col.SOUNDSCAPE].map(dict(zip(table[Col.SOUNDSCAPE], group_S, strict=True)))[heard.index]
        fold_G[group_N] = stratified_folds(heard, group_N.to_numpy(), folds.count, folds.seed)
    return table.assign(fold=fold_G[group_S], group=group_S)


def _place(table: pd.DataFrame, apart: str) -> pd.Series[str]:
    """What a soundscape shares with others that a split must not part; of an unknown site, only the day."""
    site, day = table[Col.SITE], ("day " + table[Col.DATE]).where(table[Col.DATE] != "", "")
    whole = ("site " + site + (day if apart == "site_and_day" else "")).where(site != "", day)
    return pd.Series("", whole.index) if apart == "each" else whole


if __name__ == "__main__":
    run_stage(main)
