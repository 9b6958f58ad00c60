"""Section `export` is refused by key, value, rule and way out when params.yaml is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from birdcache.params import load as params
from birdcache.params.load import ParamsError
from tests.fixtures import tiny


def problems(tmp_path: Path, export: dict[str, Any]) -> list[str]:
    raw = tiny.shipped_params()
    raw["export"] |= export
    tiny.write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(ParamsError) as caught:
        params.load(tmp_path / "params.yaml")
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("export", "said"),
    [
        (
            {"members": ["base", "none"]},
            "export.members: 'none' is not among members (base, pcen",
        ),
        ({"folds": [5]}, "export.folds: 5 is not among folds.train (0, 1, 2); correct it, or [] for all"),
        ({"folds": [1, 1]}, "export.folds: names one twice; name each once, or none for all of the ensemble"),
        ({"precision": "int8"}, "export.precision = 'int8': input should be 'float32'"),
        ({"tolerance": 0.5}, "export.tolerance = 0.5: input should be less than or equal to 0.1"),
        ({"tolerance": 0.0}, "export.tolerance = 0.0: input should be greater than 0"),
        ({"compare": 0}, "export.compare = 0: input should be greater than or equal to 1"),
        ({"name": "My Birds"}, "export.name = 'My Birds': string should match pattern"),
        ({"licences": "MIT"}, "export.licences: is not a known key; did you mean licence?"),
    ],
)
def test_wrong_values_are_refused(export: dict[str, Any], said: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, export)
    assert found.startswith(said)


def test_the_precision_that_older_files_name_is_taken(tmp_path: Path) -> None:
    raw = tiny.shipped_params()
    raw["export"]["precision"] = "float32"
    tiny.write_params(tmp_path / "params.yaml", raw)
    params.load(tmp_path / "params.yaml")


def test_members_and_folds_that_exist_are_taken(tmp_path: Path) -> None:
    raw = tiny.shipped_params()
    raw["export"] |= {"members": ["pcen"], "folds": [2, 0]}
    tiny.write_params(tmp_path / "params.yaml", raw)
    assert params.load(tmp_path / "params.yaml").export.folds == [2, 0]
