"""Resolved members: everything that decides a member's training, in one file."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from birdcache.errors import TrainError
from birdcache.files import sha256_hex
from birdcache.params.recipe import Member, Recipe
from birdcache.params.views import AnyView
from cache.store import Store
from train.paths import MEMBERS


class ResolvedMember(BaseModel):
    """A member with its recipe (overrides applied), its view or views, and the digest of what it is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    name: str
    member: Member
    recipe: Recipe
    view: AnyView
    store_digest: str
    weights_sha256: str | None


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


def joint_digest(stores: Sequence[Store]) -> str:
    """The digest of one store, or SHA-256 of those of several, one after the other."""
    digests = [store.digest for store in stores]
    return digests[0] if len(digests) == 1 else sha256_hex("".join(digests).encode())
