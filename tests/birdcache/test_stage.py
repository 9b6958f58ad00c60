"""Which stage runs is told by DVC or by hand, and never by a name that could leave its folder or reach a shell."""

from __future__ import annotations

import sys

import pytest

from birdcache.errors import BirdcacheError
from birdcache.process import DVC_STAGE
from birdcache.stage import stage_key


@pytest.mark.parametrize(
    ("arguments", "stage", "key"),
    [
        (["mel"], None, "mel"),
        (["base-0"], "train@other-1", "base-0"),
        ([], "train@base_2-12", "base_2-12"),
        ([], "optional/dvc.yaml:student@first-base-0", "first-base-0"),
    ],
)
def test_the_stage_is_named_by_hand_or_by_dvc(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], stage: str | None, key: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    monkeypatch.delenv(DVC_STAGE, raising=False)
    if stage:
        monkeypatch.setenv(DVC_STAGE, stage)
    assert stage_key("base-0") == key


@pytest.mark.parametrize(
    "key",
    [
        *("", "../outside", "a/b", "/", ".", "..", "-", "--help", "a-", "-a", "a--b", "Mel", "mel\n", "mél", "a b"),
        *("dawn; touch X; #", "$(touch X)", "`touch X`", "a@b", "a\\b", "C:", "con.txt", "\x00"),
    ],
)
def test_any_other_name_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", key])
    with pytest.raises(BirdcacheError, match=r"names no stage; run `dvc repro`, or give .* such as mel"):
        stage_key("mel")
    monkeypatch.setattr(sys, "argv", ["stage"])
    monkeypatch.setattr("os.environ", {DVC_STAGE: f"demo@{key}"})
    with pytest.raises(BirdcacheError, match="names no stage"):
        stage_key("mel")
