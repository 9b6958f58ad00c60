"""Tables for people, as Markdown."""

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A table for people: numbers with four digits, nothing where there is no number."""
    lines = [list(table.columns), ["---"] * table.shape[1]]
    lines += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4f}"
    return str(value)
