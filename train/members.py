"""Stage `member@<name>`: everything that decides a member's training, resolved into one file.

`train` depends on this file, not on params.yaml: a changed recipe, override or view reaches exactly the members that
use it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import params as parameters
from cache.files import sha256_hex
from cache.store import Store
from errors import run_stage
from params import Params
from schema.members import Member
from schema.recipe import Recipe
from schema.views import View
from train.errors import TrainError
from train.paths import MEMBERS, store_path


class ResolvedMember(BaseModel):
    """A member with its recipe (overrides applied), its view, and the digest of the store that it is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    name: str
    member: Member
    recipe: Recipe
    view: View
    store_digest: str
    weights_sha256: str | None


def main() -> None:
    """Write data/members/<name>.json for the member named on the command line."""
    name = sys.argv[1]
    params = parameters.load()
    if name not in params.members:
        raise TrainError(f"{name!r}: params.yaml names no such member; choose one of {', '.join(params.members)}")
    member = resolve(
        name, params, Store(store_path(params.members[name].view), params.views[params.members[name].view])
    )
    MEMBERS.mkdir(parents=True, exist_ok=True)
    (MEMBERS / f"{name}.json").write_text(member.model_dump_json(indent=2) + "\n")


def resolve(name: str, params: Params, store: Store) -> ResolvedMember:
    """Gather what decides the member's training.

    Raises
    ------
    TrainError
        If its pretrained weights are missing.
    """
    member = params.members[name]
    return ResolvedMember(
        name=name,
        member=member.model_copy(update={"override": {}}),
        recipe=params.recipe_of(name),
        view=params.views[member.view],
        store_digest=store.digest,
        weights_sha256=_weights_sha256(name, member.pretrained),
    )


def read_member(name: str) -> ResolvedMember:
    """Read data/members/<name>.json.

    Raises
    ------
    TrainError
        If it is missing or not of this version.
    """
    path = MEMBERS / f"{name}.json"
    try:
        return ResolvedMember.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing; run `dvc repro member@{name}`") from None
    except ValidationError as error:
        raise TrainError(f"{path}: {error.errors()[0]['msg']}; rebuild it with `dvc repro -f member@{name}`") from None


def _weights_sha256(name: str, pretrained: bool | str) -> str | None:
    if not isinstance(pretrained, str):
        return None
    path = Path(pretrained)
    if not path.is_file():
        raise TrainError(
            f"params.yaml: members.{name}.pretrained = {pretrained!r}: no such file; correct it or set it to false"
        )
    return sha256_hex(path.read_bytes())


if __name__ == "__main__":
    run_stage(main)
