"""The section on the data set: size, distribution over classes and folds, refused files."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from cache import report_tables, tables
from cache.tables import Col
from commands.report.charts import COLOURS, Chart, chart, short
from commands.report.results import PipelineResults, read_report
from commands.report.tables import Cell, Column, Table, number, text
from train.paths import REPORTS

REFUSED_SHOWN = 200  # files; reports/data/refused.csv lists all
NAMED_AT_MOST = 30  # classes with a bar each; for more, a curve by rank


@dataclass(frozen=True)
class DataSet:
    """Contents of the section; `numbers` are names, values and intervals."""

    numbers: list[tuple[str, str, str]]
    warnings: list[str]
    charts: list[Chart]
    classes: Table
    folds: Table
    refused: Table


def data_set(results: PipelineResults, rare_below: int) -> DataSet:
    """Gather the section from the reports of stages `recordings`, `spectrograms` and `folds`."""
    data, folds = read_report("data/summary"), read_report("folds/summary")
    refused = refused_files(results)
    numbers = [
        ("recordings", f"{data['recordings']['usable']:,}", ""),
        ("hours", f"{data['recordings']['hours']:,.2f}", ""),
        ("classes", f"{len(results.labels):,}", ""),
        ("recordists", f"{data['authors']['known']:,}", ""),
        ("soundscapes", f"{data['soundscapes']['usable']:,}", ""),
        ("files refused", f"{len(refused):,}", ""),
    ]
    return DataSet(
        numbers,
        list(_warnings(data, folds)),
        [tail_chart(results, rare_below), fold_chart(folds)],
        class_table(results, folds),
        fold_table(),
        refused_table(refused),
    )


def _warnings(data: dict[str, Any], folds: dict[str, Any]) -> list[str]:
    """A line about each oddity of the data."""
    found = [str(each) for each in folds["warnings"]]
    found += [f"{label}: never validated, {why}" for label, why in folds["labels_never_validated"].items()]
    if duplicates := data["contents"]["duplicates"]:
        found.append(
            f"{len(duplicates)} group(s) of recordings have the same content, such as {', '.join(duplicates[0])}"
        )
    if unknown := data["secondary_labels"]["unknown"]:
        found.append(f"{len(unknown)} secondary label(s) are not classes, such as {next(iter(unknown))}")
    if never := data["submission"]["never_heard"]:
        found.append(f"{len(never)} label(s) of the submission have no recording, such as {never[0]}")
    return found


def tail_chart(results: PipelineResults, rare_below: int) -> Chart:
    """Recordings per class, in falling order."""
    ordered = results.labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    counts = ordered["recordings"].to_numpy()
    names = [results.names[label] for label in ordered[Col.LABEL]]
    alt = (
        f"Recordings of each class, from {counts[0]:,} of {names[0]} down to {counts[-1]:,} of {names[-1]}; "
        f"{(counts < rare_below).sum()} classes have fewer than {rare_below}."
    )
    few = len(counts) <= NAMED_AT_MOST
    drawn = Chart("chart-tail", f"The long tail{f' (orange: fewer than {rare_below})' if few else ''}", alt)
    with chart(drawn, height=max(2.7, 0.9 + 0.19 * len(counts)) if few else 2.7) as figure:
        axes = figure.subplots()
        if few:
            colours = [COLOURS[1] if count < rare_below else COLOURS[0] for count in counts]
            axes.bar_label(axes.barh(range(len(counts)), counts, color=colours), padding=3)
            axes.set_yticks(range(len(counts)), [short(name) for name in names])
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set(xlabel="recordings")
            axes.margins(x=0.1)
        else:
            axes.fill_between(range(1, len(counts) + 1), counts, 0.8, step="mid", color=COLOURS[0])
            axes.axhline(rare_below, color=COLOURS[1], linewidth=1, label=f"rare below {rare_below}")
            axes.set(yscale="log", ylim=(0.8, None), xlabel="class, most frequent first", ylabel="recordings")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # powers would need mathematical text
            axes.legend(frameon=False)
    return drawn


def fold_chart(folds: dict[str, Any]) -> Chart:
    """Number of recordings in each fold."""
    table = pd.DataFrame(folds["recordings_of_label_by_fold"]).T
    sums = table.sum()
    sums = sums[(sums > 0) | (sums.index != "never")]
    alt = "Recordings in each fold: " + ", ".join(f"{name} {count:,}" for name, count in sums.items())
    drawn = Chart("chart-folds", "Recordings by fold", alt)
    with chart(drawn) as figure:
        axes = figure.subplots()
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
    numbers = list(next(iter(by_fold.values())))
    columns = [
        Column("class"),
        Column("label"),
        Column("scientific name"),
        Column("recordings", numeric=True),
        Column("hours", numeric=True),
        Column("recordists", numeric=True),
        *(Column("never" if name == "never" else f"fold {name}", numeric=True) for name in numbers),
    ]
    grouped = results.recordings.groupby(Col.LABEL)
    hours = grouped[Col.DURATION_S].sum() / 3600
    authors = grouped[Col.AUTHOR].agg(lambda each: each[each != ""].nunique())
    rows = []
    ordered = results.labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    keys = (Col.LABEL, Col.SCIENTIFIC_NAME, Col.RECORDINGS)
    for label, scientific, count in zip(*(ordered[key] for key in keys), strict=True):
        counts = [number(by_fold.get(label, {}).get(name, 0)) for name in numbers]
        numbers_of = [number(count), number(hours.get(label, 0.0), 2), number(authors.get(label, 0))]
        rows.append([text(results.names[label]), text(label), text(scientific), *numbers_of, *counts])
    return Table("table-classes", "Classes", columns, rows)


def fold_table() -> Table:
    """Contents of each fold, from reports/folds/folds.csv."""
    table = report_tables.FOLD_SUMMARY.read()
    columns = [Column("fold")] + [Column(name.replace("_", " "), numeric=True) for name in table.columns[1:]]
    rows = [
        [Cell("never validated" if row[0] < 0 else str(int(row[0])), float(row[0])), *_fold_numbers(row[1:])]
        for row in table.itertuples(index=False)
    ]
    note = (
        f"The fold of each recording: {tables.FOLDS.path}. Labels without: validated only in other folds. "
        "Untrained: only in this fold."
    )
    return Table("table-folds", "Folds", columns, rows, note, filtered=False)


def _fold_numbers(values: tuple[Any, ...]) -> list[Cell]:
    return [number(value, 0 if float(value).is_integer() else 2) for value in values]


def refused_files(results: PipelineResults) -> pd.DataFrame:
    """Files that were left out, with the stage that refused them."""
    lists = {"recordings": report_tables.REFUSED}
    lists |= {
        f"spectrograms@{view}": report_tables.REFUSED.at(REPORTS / "spectrograms" / view / "refused.csv")
        for view in results.views
    }
    return pd.concat([table.read().assign(stage=stage) for stage, table in lists.items()], ignore_index=True)


def refused_table(refused: pd.DataFrame) -> Table:
    """The first refused files, with code, reason and hint."""
    shown = refused.head(REFUSED_SHOWN)
    columns = [Column("file"), Column("code"), Column("reason"), Column("hint"), Column("stage")]
    keys = ("file", "code", "detail", "hint", "stage")
    marks = ("path", "", "words", "words", "")
    rows = [[*map(text, row, marks)] for row in shown[list(keys)].itertuples(index=False)]
    left_out = len(refused) - len(shown)
    note = f"{left_out:,} more in reports/data/refused.csv and reports/spectrograms." if left_out else ""
    return Table("table-refused", "Refused files", columns, rows, note)
