"""Tables and texts are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from birdcache.text_files import write_rows, write_text


def test_rows_are_written_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "new/table.csv"
    assert write_rows(path, ("a", "b"), iter([("1", "x, y"), ("2", 'é "z"')])) == 2
    assert path.read_bytes() == 'a,b\n1,"x, y"\n2,"é ""z"""\n'.encode()


def test_a_table_that_breaks_off_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "old\n")

    def rows() -> Iterator[tuple[str]]:
        yield ("1",)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, ("a",), rows())
    assert path.read_text() == "old\n"
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]
    write_rows(path, ("a",), [("2",)])
    assert path.read_text() == "a\n2\n"
