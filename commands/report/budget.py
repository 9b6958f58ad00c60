"""Keeping the page small: pieces are taken in turn from several lists, as long as there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

WORDS_BYTES = 4000  # of a piece, beside its pictures and its sound


class Piece(Protocol):
    """Something with pictures or a sound in it."""

    @property
    def bytes(self) -> int:
        """What these add to the page."""


AnyPiece = TypeVar("AnyPiece", bound=Piece)


@dataclass(frozen=True)
class Filled(Generic[AnyPiece]):
    """The pieces of each list that found room, and the lists that had more."""

    taken: dict[str, list[AnyPiece]]
    cut: frozenset[str]


def fill(queues: Mapping[str, Iterator[AnyPiece]], room_bytes: int) -> Filled[AnyPiece]:
    """Take pieces in turn, one from each queue, until these are empty or their next piece does not fit.

    A piece is made when its turn comes, so what has no room costs one piece of work for each queue at most.
    """
    taken: dict[str, list[AnyPiece]] = {name: [] for name in queues}
    open_queues, cut = dict(queues), set()
    while open_queues:
        for name, queue in list(open_queues.items()):
            piece = next(queue, None)
            if piece is not None and piece.bytes + WORDS_BYTES <= room_bytes:
                taken[name].append(piece)
                room_bytes -= piece.bytes + WORDS_BYTES
            else:
                cut |= {name} if piece is not None else set()
                del open_queues[name]
    return Filled(taken, frozenset(cut))
