"""The noisy student: rounds in which models learn from unlabelled soundscapes. Section `student` of params.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from birdcache.params.checks import each_once
from birdcache.params.sections import Count, Name, NonNegative, Probability, Seconds, Section

START = "start"  # the members as stage `train` leaves them: the first teacher


class StudentRound(Section):
    """One round: how its teacher's scores become labels, and how clips are mixed with what is so labelled.

    Sources: thresholds and soft labels, Xie et al. 2020, Self-training with noisy student; powers of the scores,
    mixing half and half and drawing by confidence, as the winners of BirdCLEF 2025 do.
    """

    teacher: Name
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
    def _taught_by_an_earlier_one(cls, rounds: dict[str, StudentRound]) -> dict[str, StudentRound]:
        teachers = [START]
        for name, each in rounds.items():
            if name == START:
                raise ValueError(f"{START} is the name of the members before any round; choose another")
            if each.teacher not in teachers:
                raise ValueError(f"{name}.teacher = {each.teacher!r}: choose {' or '.join(teachers)}")
            teachers.append(name)
        return rounds
