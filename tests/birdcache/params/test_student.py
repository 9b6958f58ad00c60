"""Section `student` of params.yaml: what is refused, by key, rule and way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdcache.params import load as params
from tests.birdcache.params.test_load import INSECTS, Change, problems, put
from tests.fixtures import tiny


def rounds(**changes: Any) -> dict[str, Any]:
    plain = {"teacher": "start", "threshold": 0.1, "power": 1.0, "probability": 0.5, "share": 0.5, "override": {}}
    return {"first": plain, "second": {**plain, "teacher": "first", **changes}}


def test_the_shipped_rounds_are_taught_by_one_another() -> None:
    student = params.load(tiny.ROOT / "params.yaml").student
    assert [each.teacher for each in student.rounds.values()] == ["start", *list(student.rounds)[:-1]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            put("student.members", ["base", "wren"]),
            "names 'wren', which is no member; choose one of: base, ",
        ),
        (put("members.base.labels", INSECTS), "student.members names 'base', whose labels are some classes; name"),
        (put("student.members", ["base", "base"]), "names a member twice"),
        (put("student.members", []), "student.members: list should have at least 1 item"),
        (put("student.soundscapes", "some"), "student.soundscapes = 'some'"),
        (put("student.hop_s", 0.0), "student.hop_s = 0.0"),
        (put("student.least_gain", -0.1), "student.least_gain = -0.1"),
        (put("student.rounds", rounds(teacher="third")), "second.teacher = 'third': choose start or first"),
        (put("student.rounds", rounds(teacher="second")), "second.teacher = 'second': choose start or first"),
        (put("student.rounds", {"start": rounds()["first"]}), "start is the name of the members before any round"),
        (
            put("student.rounds", rounds(taught_by={"base": ["wren"]})),
            "second.taught_by names 'wren': add it to student.members",
        ),
        (
            put("student.rounds", rounds(taught_by={"pcen": []})),
            "second.taught_by names 'pcen': add it to student.members",
        ),
        (put("student.rounds", rounds(taught_by={"base": []})), "second.taught_by: teaches no member"),
        (put("student.rounds", rounds(folds="none")), "student.rounds.second.folds = 'none'"),
        (put("student.rounds", rounds(alpha=1.5)), "student.rounds.second.alpha = 1.5"),
        (put("student.rounds", rounds(threshold=1.5)), "student.rounds.second.threshold = 1.5"),
        (put("student.rounds", rounds(power=0.0)), "student.rounds.second.power = 0.0"),
        (put("student.rounds", rounds(probability=1.1)), "student.rounds.second.probability = 1.1"),
        (put("student.rounds", rounds(share=1.0)), "student.rounds.second.share = 1.0"),
        (
            put("student.rounds", rounds(override={"epoch": 3})),
            "second.override.epoch: is not a known key",
        ),
        (
            put("student.rounds", rounds(override={"augment": {"spec_augment": {"mel_width": 500}}})),
            "student.rounds.second: augment.spec_augment.mel_width = 500 is over the 128 mel bins",
        ),
    ],
)
def test_a_wrong_key_is_refused_in_one_line(tmp_path: Path, change: Change, expected: str) -> None:
    (line,) = problems(tmp_path, change)
    assert expected in line


def test_an_override_of_a_round_is_put_over_that_of_the_member(tmp_path: Path) -> None:
    """The member's clips are 2 s long, which a shift by 4 s does not fit."""
    changed: list[Callable[[dict[str, Any]], None]] = [
        put("members.base.override", {"clip_s": 2.0}),
        put("student.rounds", rounds(override={"augment": {"time_shift_s": 4.0}})),
    ]
    (line,) = problems(tmp_path, *changed)
    assert line.startswith("student.rounds.second: augment.time_shift_s = 4.0 is longer than clip_s (2.0)")


def test_what_is_wrong_with_a_member_is_told_once(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, put("members.base.override", {"epoch": 3}))
    assert line.startswith("members.base.override.epoch")
