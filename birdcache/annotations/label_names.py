"""The label that a cell of an annotation means: a label itself, or the common or scientific name of one."""

from collections import defaultdict
from collections.abc import Iterable

import pandas as pd

from birdcache.audio.paths import folded
from birdcache.unknown import is_unknown


class LabelNames:
    """The labels of a data set with their names.

    Parameters
    ----------
    labels : that the data set has, whether they have names or not.
    taxonomy : columns scientific_name and common_name, indexed by label.
    """

    def __init__(self, labels: Iterable[str], taxonomy: pd.DataFrame) -> None:
        self._labels = {*labels, *taxonomy.index}
        self._called: dict[str, set[str]] = defaultdict(set)
        self._alike: dict[str, set[str]] = defaultdict(set)
        for column in ("scientific_name", "common_name"):
            for label, name in zip(taxonomy.index, taxonomy[column], strict=True):
                if not is_unknown(name):
                    self._called[folded(name)].add(label)
        for label in self._labels:
            self._alike[folded(label)].add(label)

    def label_of(self, cell: str) -> str:
        """The label that a cell means: itself if it is one, else the one of that name, else itself as a new one.

        A LookupError if it may mean several, or differs from one by case alone; its text is a rule with a way out.
        """
        if cell in self._labels or not cell:
            return cell
        called = self._called.get(folded(cell), set())
        alike = self._alike.get(folded(cell), set()) - called
        if len(called | alike) > 1:
            raise LookupError(f"names several labels: {', '.join(sorted(called | alike))}; write the one you mean")
        if alike:
            raise LookupError(f"differs from label {alike.pop()} in case only; spell both the same")
        return next(iter(called), cell)
