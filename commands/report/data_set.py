"""The section on the data set: size, distribution over classes and folds, refused files."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from cache import report_tables, tables
from cache.tables import Col
from commands.report.charts import COLOURS, NAMED_AT_MOST, Chart, chart, short
from commands.report.results import PipelineResults, read_report
from commands.report.tables import Cell, Table, number, text
from train.paths import REPORTS

REFUSED_SHOWN = 200  # files; reports/data/refused.csv lists all


def data_set(results: PipelineResults, rare_below: int) -> dict[str, Any]:
    """Contents of the section, from the reports of stages `recordings`, `spectrograms` and `folds`."""
    data, folds = read_report("data/summary"), read_report("folds/summary")
    never = [f"{label}: never validated, {why}" for label, why in folds["labels_never_validated"].items()]
    refused = refused_files(results)
    numbers = {
        "recordings": f"{data['recordings']['usable']:,}",
        "hours": f"{data['recordings']['hours']:,.2f}",
        "classes": f"{len(results.labels):,}",
        "recordists": f"{data['recordists']:,}",
        "soundscapes": f"{data['soundscapes']['usable']:,}",
        "files refused": f"{len(refused):,}",
    }
    return {
        "numbers": [(name, value, "") for name, value in numbers.items()],
        "warnings": [*data["warnings"], *folds["warnings"], *never],
        "charts": [tail_chart(results.labels, results.names, rare_below), fold_chart(folds)],
        "tables": [class_table(results, folds), fold_table(), refused_table(refused)],
    }


def tail_chart(labels: pd.DataFrame, called: Mapping[str, str], rare_below: int) -> Chart:
    """Recordings per class, in falling order: a bar for each of few classes, a curve by rank for many."""
    ordered = labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    counts = ordered["recordings"].to_numpy()
    names = [called[label] for label in ordered[Col.LABEL]]
    alt = (
        f"Recordings of each class, from {counts[0]:,} of {names[0]} down to {counts[-1]:,} of {names[-1]}; "
        f"{(counts < rare_below).sum()} classes have fewer than {rare_below}."
    )
    few = len(counts) <= NAMED_AT_MOST
    drawn = Chart("chart-tail", f"The long tail{f' (orange: fewer than {rare_below})' if few else ''}", alt)
    ranks = range(1, len(counts) + 1)
    with chart(drawn, height=max(2.7, 0.9 + 0.19 * len(counts)) if few else 2.7) as axes:
        if few:
            colours = [COLOURS[1] if count < rare_below else COLOURS[0] for count in counts]
            axes.bar_label(axes.barh(ranks, counts, color=colours), padding=3)
            axes.set_yticks(ranks, [short(name) for name in names])
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set(xlabel="recordings")
            axes.margins(x=0.1)
            return drawn
        axes.fill_between(ranks, counts, 0.8, step="mid", color=COLOURS[0])
        axes.axhline(rare_below, color=COLOURS[1], linewidth=1, label=f"rare below {rare_below}")
        axes.set(yscale="log", ylim=(0.8, 2 * counts[0]), xlabel="class, most frequent first", ylabel="recordings")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # powers would need mathematical text
        axes.legend(frameon=False)
        for place, align in ((0, "left"), (len(counts) // 2, "center"), (len(counts) - 1, "right")):
            said = f"{short(names[place])}: {counts[place]:,}"
            axes.annotate(said, (ranks[place], counts[place]), (0, 6), textcoords="offset points", ha=align)
    return drawn


def fold_chart(folds: dict[str, Any]) -> Chart:
    """Number of recordings in each fold."""
    table = pd.DataFrame(folds["recordings_of_label_by_fold"]).T
    sums = table.sum()
    sums = sums[(sums > 0) | (sums.index != "never")]
    alt = "Recordings in each fold: " + ", ".join(f"{name} {count:,}" for name, count in sums.items())
    drawn = Chart("chart-folds", "Recordings by fold", alt)
    with chart(drawn) as axes:
        colours = [COLOURS[7] if name == "never" else COLOURS[0] for name in sums.index]
        axes.bar_label(axes.bar(list(sums.index), sums.to_numpy(), color=colours), fmt="{:,.0f}", padding=2)
        axes.grid(visible=False, axis="x")
        axes.set(ylabel="recordings", xlabel="fold" + ("; never: not validated" if "never" in sums.index else ""))
        axes.margins(y=0.12)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def class_table(results: PipelineResults, folds: dict[str, Any]) -> Table:
    """A row for each class: recordings, hours, recordists, and recordings per fold."""
    by_fold = folds["recordings_of_label_by_fold"]
    heads = {name: "never" if name == "never" else f"fold {name}" for name in next(iter(by_fold.values()))}
    grouped = results.recordings.groupby(Col.LABEL)
    hours = grouped[Col.DURATION_S].sum() / 3600
    authors = grouped[Col.AUTHOR].agg(lambda each: each[each != ""].nunique())
    ordered = results.labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    keys = (Col.LABEL, Col.SCIENTIFIC_NAME, Col.RECORDINGS)
    rows = [
        {
            "class": text(results.names[label]),
            "label": text(label),
            "scientific name": text(scientific),
            "recordings": number(count),
            "hours": number(hours.get(label, 0.0), 2),
            "recordists": number(authors.get(label, 0)),
            **{head: number(by_fold.get(label, {}).get(name, 0)) for name, head in heads.items()},
        }
        for label, scientific, count in zip(*(ordered[key] for key in keys), strict=True)
    ]
    return Table("table-classes", "Classes", rows)


def fold_table() -> Table:
    """Contents of each fold, from reports/folds/folds.csv."""
    table = report_tables.FOLD_SUMMARY.read()
    columns, rows = [name.replace("_", " ") for name in table.columns[1:]], []
    for fold, *values in table.itertuples(index=False):
        cells = [number(value, 0 if float(value).is_integer() else 2) for value in values]
        first = Cell("never validated" if fold < 0 else str(int(fold)), float(fold))
        rows.append({"fold": first} | dict(zip(columns, cells, strict=True)))
    note = (
        f"The fold of each recording: {tables.FOLDS.path}. Labels without: validated only in other folds. "
        "Untrained: only in this fold."
    )
    return Table("table-folds", "Folds", rows, note=note, filtered=False)


def refused_files(results: PipelineResults) -> pd.DataFrame:
    """Files that were left out, with the stage that refused them."""
    paths = {"recordings": report_tables.REFUSED.path}
    paths |= {f"spectrograms@{view}": REPORTS / "spectrograms" / view / "refused.csv" for view in results.views}
    lists = [report_tables.REFUSED.at(path).read().assign(stage=stage) for stage, path in paths.items()]
    return pd.concat(lists, ignore_index=True)


def refused_table(refused: pd.DataFrame) -> Table:
    """The first refused files, with code, reason and hint."""
    marks = {"file": "path", "code": "", "reason": "words", "hint": "words", "stage": ""}
    shown = refused.head(REFUSED_SHOWN).rename(columns={Col.DETAIL: "reason"}).to_dict("records")
    rows = [{key: text(row[key], mark) for key, mark in marks.items()} for row in shown]
    left_out = len(refused) - len(shown)
    note = f"{left_out:,} more in reports/data/refused.csv and reports/spectrograms." if left_out else ""
    return Table("table-refused", "Refused files", rows, note=note)
