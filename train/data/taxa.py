"""The classes of the taxonomy, such as Aves and Insecta, by which params.yaml may name many labels at once."""

from collections.abc import Collection

import pandas as pd

from birdcache.errors import TrainError
from cache import tables
from cache.tables import Col


def class_names(key: str, wanted: Collection[str]) -> "pd.Series[str]":
    """The class_name of each label, (K,), indexed by label; "" where the taxonomy has none.

    A TrainError if a wanted one is the class_name of no label.

    Parameters
    ----------
    key : of params.yaml, which wants them.
    """
    names = tables.LABELS.read(Col.LABEL, Col.CLASS_NAME).set_index(Col.LABEL)[Col.CLASS_NAME]
    known = sorted({*names} - {""})
    if missing := sorted({*wanted} - {*known}):
        choice = f"choose of: {', '.join(known)}" if known else "data.root has no taxonomy.csv with this column"
        raise TrainError(
            f"params.yaml: {key}: {', '.join(missing)} is the class_name of no label with a recording; {choice}"
        )
    return names
