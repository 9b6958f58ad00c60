"""Rules between section `student` and the rest of a params file: one line per problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from birdcache.params.members import Member
from birdcache.params.recipe import Recipe, merged
from birdcache.params.rules import member_problems, valid_entries
from birdcache.params.student import StudentParams
from birdcache.params.views import View


def student_problems(raw: dict[str, Any]) -> Iterator[str]:
    """What is wrong between the student's members and rounds, and the members, views and recipes that there are."""
    try:
        student = StudentParams.model_validate(raw.get("student"))
    except ValidationError:
        return  # already reported by the schema of the whole file
    members = raw.get("members")
    known = list(members) if isinstance(members, Mapping) else []
    for name in student.members:
        if name not in known:
            yield f"student.members names {name!r}, which is no member; choose of: {', '.join(known)}"
    valid = valid_entries(TypeAdapter(Member), members)
    for name in (each for each in student.members if each in valid):
        yield from _round_problems(student, valid[name], raw)


def _round_problems(student: StudentParams, member: Member, raw: dict[str, Any]) -> Iterator[str]:
    """What the rounds' overrides make wrong with a member that is right without them."""
    views = valid_entries(TypeAdapter(View), raw.get("views"))
    recipes = valid_entries(TypeAdapter(Recipe), raw.get("train"))
    if list(member_problems("", member, raw, views, recipes)):
        return
    for name, each in student.rounds.items():
        changed = member.model_copy(update={"override": merged(member.override, each.override)})
        yield from member_problems(f"student.rounds.{name}", changed, raw, views, recipes)
