"""Which label a cell of an annotation means."""

from __future__ import annotations

import pandas as pd
import pytest

from birdcache.annotations.label_names import LabelNames

TAXONOMY = pd.DataFrame(
    [
        ("eurrob", "Erithacus rubecula", "European Robin"),
        ("amerob", "Turdus migratorius", "Robin"),
        ("son01", "Insecta", "Katydid"),
        ("son02", "Insecta", "Katydid"),
        ("robin", "Petroica boodang", "Scarlet Robin"),
        ("Wren", "Troglodytes troglodytes", "wren"),
        ("nameless", "", ""),
    ],
    columns=["label", "scientific_name", "common_name"],
).set_index("label")
NAMES = LabelNames(["jay", "Wren"], TAXONOMY)


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("jay", "jay"),
        ("european robin", "eurrob"),
        ("ERITHACUS RUBECULA", "eurrob"),
        ("wren", "Wren"),
        ("owl", "owl"),
        ("", ""),
    ],
)
def test_cell_means_the_label_of_that_name_or_itself(cell: str, label: str) -> None:
    assert NAMES.label_of(cell) == label


def test_label_wins_over_another_labels_name() -> None:
    assert NAMES.label_of("robin") == "robin"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("Katydid", "names several labels: son01, son02; write the one you mean"),
        ("insecta", "names several labels: son01, son02"),
        ("Robin", "names several labels: amerob, robin"),
        ("Jay", "differs from label jay in case only; spell both the same"),
        ("SON01", "differs from label son01 in case only"),
    ],
)
def test_cell_that_may_mean_another_label_is_refused(cell: str, said: str) -> None:
    with pytest.raises(LookupError, match=said):
        NAMES.label_of(cell)
