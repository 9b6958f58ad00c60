"""Recordists by name: the same one in several spellings, and words that name nobody."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import pandas as pd

from birdcache.unknown import is_unknown, plain


def recordists(authors: pd.Series[str], warn: Callable[[str], None]) -> pd.Series[str]:
    """Names of recordists, each in its most frequent spelling, "" for words such as `Unknown`."""
    counts = Counter[str](authors.tolist())
    known: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name != " ".join(name.split()), "," in name, name)):
        if not is_unknown(name):  # spellings differ in case, blanks, punctuation, accents, or as `Last, First`
            last, comma, first = name.partition(",")
            in_order = f"{first} {last}" if comma and "," not in first else name
            known[plain(in_order).replace(" ", "")].append(name)
    if several := [names for names in known.values() if len(names) > 1]:
        warn(f"recordists spelt in several ways and taken as one: {len(several)}, first {several[0]}")
    chosen = {name: names[0] for names in known.values() for name in names}
    return authors.map({name: chosen.get(name, "") for name in counts})
