"""Members: named models. Section `members` of params.yaml."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from birdcache.params.base import Name, Section


def _of_timm(backbone: str) -> str:
    """A name such as timm gives its models, never a place that timm would fetch code's settings or weights from."""
    if re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", backbone) is None:
        raise ValueError(
            "must be the name of a model in timm.list_models(), no path, hf-hub: or local-dir:; for weights from "
            "elsewhere set pretrained to their .safetensors file"
        )
    return backbone


class Member(Section):
    """A named model: one backbone on one view, or on several side by side, with one recipe.

    Sources: several views as channels of one image, Palanisamy et al. 2020, Rethinking CNN models for audio
    classification; head `sed`, attention over time as in PANNs (Kong et al. 2020); pool `gem`, Radenovic et al. 2018;
    drop path, Huang et al. 2016.
    """

    view: Name
    more_views: Annotated[list[Name], Field(max_length=2)]
    recipe: Name
    backbone: Annotated[str, AfterValidator(_of_timm)]
    pretrained: bool | str
    head: Literal["linear", "sed"]
    pool: Literal["avg", "gem"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    override: dict[str, Any]

    @property
    def views(self) -> list[str]:
        """Names of all views that the member looks at, in the order of their channels."""
        return [self.view, *self.more_views]
