"""Members: named models. Section `members` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schema.base import Name, Section


class Member(Section):
    """A named model: one backbone on one view with one recipe.

    Sources: head `sed`, attention over time as in PANNs (Kong et al. 2020); pool `gem`, Radenovic et al. 2018; drop
    path, Huang et al. 2016.
    """

    view: Name
    recipe: Name
    backbone: Annotated[str, Field(min_length=1)]
    pretrained: bool | str
    head: Literal["linear", "sed"]
    pool: Literal["avg", "gem"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    override: dict[str, Any]
