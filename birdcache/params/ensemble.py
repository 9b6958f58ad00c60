"""How members become one. Section `ensemble` of params.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from birdcache.params.base import Count, NonNegative, Section


class EnsembleParams(Section):
    """How the scores of members are blended, and the weights of a member's folds (docs/inference.md).

    Sources: weights on held-out predictions, stacking as in Wolpert 1992 and Breiman 1996 (non-negative); a mean of
    ranks, the Borda count; averaged weights of several trainings, the uniform soup of Wortsman et al. 2022.
    """

    blend: Literal["mean", "rank", "fitted", "best"]
    best: Count
    fold_soup: bool
    threshold_prior: Annotated[NonNegative, Field(le=1e6)]


def ensemble_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between the ensemble and the members of a params file."""
    ensemble, members = raw.get("ensemble"), raw.get("members")
    if not isinstance(ensemble, Mapping) or not isinstance(members, Mapping):
        return
    best = ensemble.get("best")
    if ensemble.get("blend") == "best" and isinstance(best, int) and best > len(members):
        yield f"ensemble.best = {best}: there are only {len(members)} members; lower it, or choose blend: mean"
