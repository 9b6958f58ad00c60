"""Params that record which keys of params.yaml were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from birdcache.params.model import Params
from birdcache.params.sections import Section


class RecordedParams:
    """Looks like Params; `reads` collects dotted keys such as `views.mel`, `folds.train`, `machine.workers`."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self.reads: set[str] = set()

    def __getattr__(self, section: str) -> Any:
        value = getattr(self._params, section)
        if isinstance(value, Mapping):
            return _RecordedMapping(value, section, self.reads)
        return _RecordedSection(value, section, self.reads)

    def recipe_of(self, member: str) -> Any:
        """As Params.recipe_of, with its reads recorded."""
        return Params.recipe_of(self, member)  # type: ignore[arg-type]


class _RecordedMapping(Mapping[str, Any]):
    def __init__(self, value: Mapping[str, Any], key: str, reads: set[str]) -> None:
        self._value, self._key, self._reads = value, key, reads

    def __getitem__(self, name: str) -> Any:
        self._reads.add(f"{self._key}.{name}")
        return self._value[name]

    def __iter__(self) -> Iterator[str]:
        self._reads.add(self._key)
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)


class _RecordedSection:
    def __init__(self, value: Any, key: str, reads: set[str]) -> None:
        self._value, self._key, self._reads = value, key, reads

    def __getattr__(self, name: str) -> Any:
        value, key = getattr(self._value, name), f"{self._key}.{name}"
        if isinstance(value, Mapping) and all(isinstance(entry, Section) for entry in value.values()):
            return _RecordedSections(value, key, self._reads)
        self._reads.add(key)
        return value


class _RecordedSections(_RecordedMapping):
    """Sections within a section, such as `student.rounds`: which keys of each are read."""

    def __getitem__(self, name: str) -> Any:
        return _RecordedSection(self._value[name], f"{self._key}.{name}", self._reads)
