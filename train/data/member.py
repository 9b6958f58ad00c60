"""Resolved members: everything that decides a member's training, in one file."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from birdcache.files import canonical_json, sha256_hex
from birdcache.params.recipe import Member, Recipe
from birdcache.params.sections import Section
from birdcache.params.views import AnyView
from cache import tables
from cache.store import Store, open_named
from cache.tables import Col
from train.model.weight_source import Origin
from train.paths import MEMBERS, read_json, store_path


class ResolvedMember(Section):
    """A member with its recipe (overrides applied), its view or views, and the digest of what it is trained on."""

    version: Literal[1] = 1
    name: str
    member: Member
    recipe: Recipe
    view: AnyView
    store_digest: str
    weights_sha256: str | None
    labelled_digest: str = ""  # of the soundscapes with labelled windows; "" without any
    teacher_digest: str = ""  # of the teacher's store; "" without one
    weights_origin: Origin | None = None  # of imported weights
    only: list[str] = Field(default_factory=list)  # labels that it is for; [] = all

    @model_serializer(mode="wrap")
    def _without_no_origin(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is written of what is not there: members of before stay as they are."""
        nothing: tuple[tuple[str, Any], ...]
        nothing = ("weights_origin", None), ("teacher_digest", ""), ("only", [])
        return {key: value for key, value in dump(self).items() if (key, value) not in nothing}


def read_member(name: str) -> ResolvedMember:
    """Read data/members/<name>.json; a TrainError if it is missing or not of this version."""
    again = f"run `dvc repro member@{name}`", f"rebuild it with `dvc repro -f member@{name}`"
    return read_json(ResolvedMember, MEMBERS / f"{name}.json", *again)


def joint_digest(stores: Sequence[Store]) -> str:
    """The digest of one store, or SHA-256 of those of several, one after the other."""
    digests = [store.digest for store in stores]
    return digests[0] if len(digests) == 1 else sha256_hex("".join(digests).encode())


def labelled_digest(member: Member) -> str:
    """Digest of what decides the frames of the soundscapes with labelled windows, and of no others; "" without any."""
    folds = tables.SOUNDSCAPE_FOLDS.read(Col.SHA256)
    table = tables.SOUNDSCAPES.read(Col.SHA256, Col.READ_AS).merge(folds, on=Col.SHA256)
    contents = sorted(table.itertuples(index=False, name=None))
    views = [*member.views, member.teacher.view] if member.teacher else member.views
    digests = [open_named(store_path(view, soundscapes=True)).manifest.view_digest for view in views if contents]
    return sha256_hex(canonical_json([digests, contents])) if contents else ""
