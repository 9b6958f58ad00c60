"""Which views may stand side by side: what is refused, with key, value and way out, and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from birdcache.params import load as params
from birdcache.params.model import Params
from tests.birdcache.params.test_load import Change, problems, put
from tests.fixtures import tiny

TWIN = {"more_views": ["twin"]}
PCEN_OF_128 = {"more_views": ["pcen"]}


def twin(**changes: Any) -> Change:
    """Another view like mel, but finer in frequency, and changed."""

    def change(raw: dict[str, Any]) -> None:
        raw["views"]["twin"] = raw["views"]["mel"] | {"n_fft": 4096} | changes
        raw["members"]["base"] |= TWIN

    return change


def with_pcen(**override: Any) -> Change:
    """Member `base` looks at mel and PCEN of as many mel bins."""

    def change(raw: dict[str, Any]) -> None:
        raw["views"]["pcen"]["n_mels"] = 128
        raw["members"]["base"] |= PCEN_OF_128 | {"override": override}

    return change


def accepted(tmp_path: Path, *changes: Change) -> Params:
    raw = tiny.shipped_params()
    for change in changes:
        change(raw)
    tiny.write_params(tmp_path / "params.yaml", raw)
    return params.load(tmp_path / "params.yaml")


def test_views_of_other_windows_and_codes_may_stand_side_by_side(tmp_path: Path) -> None:
    loaded = accepted(tmp_path, twin(dtype="uint8", compression="zstd"))
    assert loaded.members["base"].views == ["mel", "twin"]
    assert loaded.members["pcen"].views == ["pcen"]


def test_mel_beside_pcen_keeps_what_works_on_decibels(tmp_path: Path) -> None:
    override = {"trim_db": 30.0, "dynamic_range_db": 60.0, "augment": {"gain_db": 6.0, "eq": {"probability": 0.5}}}
    assert accepted(tmp_path, with_pcen(**override)).members["base"].views == ["mel", "pcen"]


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        (
            [put("members.base.more_views", ["mle"])],
            "members.base.more_views = ['mle']",
            "mle names no view; choose one",
        ),
        ([put("members.base.more_views", ["mel"])], "members.base.more_views = ['mel']", "has view mel already"),
        (
            [twin(), put("members.base.more_views", ["twin", "twin"])],
            "members.base.more_views",
            "the member has view twin already",
        ),
        ([put("members.base.more_views", ["a", "b", "c"])], "members.base.more_views", "at most 2 items"),
        ([twin(hop=256)], "members.base.more_views = ['twin']", "views.twin.hop = 256, but views.mel.hop = 512"),
        ([twin(sample_rate_hz=44100)], "members.base.more_views", "add a view like twin with sample_rate_hz: 32000"),
        ([twin(n_mels=64)], "members.base.more_views", "views.twin.n_mels = 64, but views.mel.n_mels = 128"),
        ([twin(fmin_hz=50)], "members.base.more_views", "views.twin.fmin_hz = 50"),
        ([twin(fmax_hz=15000)], "members.base.more_views", "views.twin.fmax_hz = 15000"),
        ([twin(mel_scale="htk")], "members.base.more_views", "views.twin.mel_scale = 'htk'"),
        (
            [with_pcen(augment={"background": {"probability": 0.5}})],
            "members.base: augment.background.probability = 0.5",
            "or leave that view out and set channels: [level, pcen]",
        ),
        ([with_pcen(augment={"noise": {"probability": 0.5}})], "members.base: augment.noise", "values of view pcen"),
        ([with_pcen(augment={"sumix": {"probability": 0.5}})], "members.base: augment.sumix", "values of view pcen"),
        (
            [
                with_pcen(
                    channels=["pcen"], pcen={"gain": 1.0, "bias": 2.0, "power": 0.5, "time_constant_s": 1.0, "eps": 1.0}
                )
            ],
            "members.base: the channel pcen",
            "would be PCEN of the PCEN values of view pcen",
        ),
        (
            [
                put("views.mel.n_mels", 64),
                put("members.pcen.more_views", ["mel"]),
                put("members.pcen.override.trim_db", 9.0),
            ],
            "members.pcen: trim_db = 9",
            "has no meaning on the PCEN values of view pcen",
        ),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(tmp_path: Path, changes: list[Change], key: str, said: str) -> None:
    lines = problems(tmp_path, *changes)
    assert any(line.startswith(key) and said in line for line in lines), lines
