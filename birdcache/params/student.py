"""The noisy student: rounds in which models learn from unlabelled soundscapes. Section `student` of params.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from birdcache.params.recipe import Member, Recipe, merged
from birdcache.params.rules import member_problems, valid_entries
from birdcache.params.sections import Count, Name, NonNegative, Positive, Probability, Section
from birdcache.params.views import View

START = "start"  # the members as stage `train` leaves them: the first teacher


class StudentRound(Section):
    """One round: how its teacher's scores become labels, and how clips are mixed with what is so labelled.

    Sources: thresholds and soft labels, Xie et al. 2020, Self-training with noisy student; powers of the scores,
    mixing half and half and drawing by confidence, as the winners of BirdCLEF 2025 do.
    """

    teacher: Name
    threshold: Probability
    power: Positive
    probability: Probability
    share: Annotated[float, Field(gt=0, lt=1)]
    override: dict[str, Any]


class StudentParams(Section):
    """Teachers and students, soundscapes and rounds, and the end of the rounds.

    Source: noisy student, Xie et al. 2020, in two to four rounds as the winners of BirdCLEF 2025.
    """

    members: Annotated[list[Name], Field(min_length=1)]
    soundscapes: Literal["unlabelled", "all"]
    hop_s: Positive
    batch_size: Count
    gain_in: Literal["soundscapes", "out_of_fold"]
    least_gain: NonNegative | None
    rounds: dict[Name, StudentRound]

    @field_validator("members")
    @classmethod
    def _each_once(cls, members: list[str]) -> list[str]:
        if len(set(members)) != len(members):
            raise ValueError("names a member twice; name each once")
        return members

    @field_validator("rounds")
    @classmethod
    def _taught_by_an_earlier_one(cls, rounds: dict[str, StudentRound]) -> dict[str, StudentRound]:
        teachers = [START]
        for name, each in rounds.items():
            if name == START:
                raise ValueError(f"{START} is the name of the members before any round; choose another")
            if each.teacher not in teachers:
                raise ValueError(f"{name}.teacher = {each.teacher!r}: choose {' or '.join(teachers)}")
            teachers.append(name)
        return rounds


def student_problems(raw: dict[str, Any]) -> Iterator[str]:
    """Problems between the student's members and rounds, and the members, views and recipes of a params file."""
    try:
        student = StudentParams.model_validate(raw.get("student"))
    except ValidationError:
        return  # already reported by the schema of the whole file
    members = raw.get("members")
    known = list(members) if isinstance(members, Mapping) else []
    for name in student.members:
        if name not in known:
            yield f"student.members names {name!r}, which is no member; choose one of: {', '.join(known)}"
    valid = valid_entries(TypeAdapter(Member), members)
    for name in (each for each in student.members if each in valid):
        yield from _round_problems(student, valid[name], raw)


def _round_problems(student: StudentParams, member: Member, raw: dict[str, Any]) -> Iterator[str]:
    """Problems that the rounds' overrides cause in a member that has none without them."""
    views = valid_entries(TypeAdapter(View), raw.get("views"))
    recipes = valid_entries(TypeAdapter(Recipe), raw.get("train"))
    if list(member_problems("", member, raw, views, recipes)):
        return
    for name, each in student.rounds.items():
        changed = member.model_copy(update={"override": merged(member.override, each.override)})
        yield from member_problems(f"student.rounds.{name}", changed, raw, views, recipes)
