"""The ensemble as one ONNX file. Section `export` of params.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from birdcache.params.base import Count, Name, Positive, Section


class ExportParams(Section):
    """What goes into the bundle, and how it is measured (docs/deploy.md)."""

    name: Name
    members: list[Name]
    folds: list[Annotated[int, Field(ge=0)]]
    precision: Literal["float32", "int8"]
    compare: Count
    tolerance: Annotated[Positive, Field(le=0.1)]
    licence: str
    data_licence: str

    @field_validator("members", "folds")
    @classmethod
    def _each_once(cls, names: list[Any]) -> list[Any]:
        if len(set(names)) != len(names):
            raise ValueError("names one twice; name each once, or none for all of the ensemble")
        return names


def export_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between the bundle and the members, folds and ensemble of a params file."""
    export, members, folds = (raw.get(name) for name in ("export", "members", "folds"))
    if not isinstance(export, Mapping):
        return
    chosen = export.get("members")
    if isinstance(members, Mapping) and isinstance(chosen, list):
        for name in [each for each in chosen if each not in members]:
            yield f"export.members: {name!r} names no member; choose of: {', '.join(map(str, members))}, or [] for all"
    trained, chosen = folds.get("train") if isinstance(folds, Mapping) else None, export.get("folds")
    if isinstance(trained, list) and isinstance(chosen, list):
        for fold in [each for each in chosen if each not in trained]:
            known = ", ".join(map(str, trained))
            yield f"export.folds: {fold} is not among folds.train ({known}); correct it, or [] for all"
