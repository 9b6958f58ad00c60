"""The noisy student: rounds in which models learn from unlabelled soundscapes. Section `student` of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from birdcache.params.checks import each_once
from birdcache.params.sections import Count, Name, NonNegative, Probability, Seconds, Section

START = "start"  # the members as stage `train` leaves them: the first teacher


class StudentRound(Section):
    """One round: how its teacher's scores become labels, and how clips are mixed with what is so labelled.

    Sources: thresholds and soft labels, Xie et al. 2020, Self-training with noisy student; powers of the scores,
    mixing half and half and drawing by confidence, as the winners of BirdCLEF 2025 do.
    """

    teacher: Name
    taught_by: Annotated[dict[Name, list[Name]], Field(default_factory=dict)]  # a member that is missing: by all
    folds: Literal["own", "all"] = "own"
    alpha: Probability = 0.0
    threshold: Probability
    power: Annotated[float, Field(gt=0, le=100)]
    probability: Probability
    share: Annotated[float, Field(gt=0, lt=1)]
    override: dict[str, Any]


class StudentParams(Section):
    """Teachers and students, soundscapes and rounds, and the end of the rounds.

    Source: noisy student, Xie et al. 2020, in two to four rounds as the winners of BirdCLEF 2025.
    """

    members: Annotated[list[Name], Field(min_length=1), each_once("a member")]
    soundscapes: Literal["unlabelled", "all"]
    hop_s: Seconds
    batch_size: Count
    gain_in: Literal["soundscapes", "windows", "out_of_fold"]
    least_gain: NonNegative | None
    rounds: dict[Name, StudentRound]

    @field_validator("rounds")
    @classmethod
    def _in_order(cls, rounds: dict[str, StudentRound], info: ValidationInfo) -> dict[str, StudentRound]:
        teachers, members = [START], info.data.get("members", [])
        for name, each in rounds.items():
            if name == START:
                raise ValueError(f"{START} is the name of the members before any round; choose another")
            if each.teacher not in teachers:
                raise ValueError(f"{name}.teacher = {each.teacher!r}: choose {' or '.join(teachers)}")
            if unknown := [one for pair in each.taught_by.items() for one in (pair[0], *pair[1]) if one not in members]:
                raise ValueError(f"{name}.taught_by names {unknown[0]!r}: add it to student.members")
            if members and not any(each.taught_by.get(member, members) for member in members):
                raise ValueError(f"{name}.taught_by: teaches no member; name teachers of one, or remove the round")
            teachers.append(name)
        return rounds
