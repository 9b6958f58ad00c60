"""Stage `check`: a member that cannot be built, or cannot process its clips, is refused before anything is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from birdcache.errors import CommandError
from birdcache.params import load as parameters
from commands.project import check
from tests.fixtures import tiny
from train.paths import CHECKED


def write(root: Path, base: dict[str, Any]) -> None:
    raw = tiny.tiny_params("chorus")
    raw["members"]["base"] |= base
    tiny.write_params(root / "params.yaml", raw)


def test_a_view_whose_numbers_do_not_go_together_is_refused(tmp_path: Path) -> None:
    raw = tiny.tiny_params("chorus")
    raw["views"]["mel"] |= {"n_fft": 512, "n_mels": 256}
    tiny.write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(CommandError, match=r"^params\.yaml: views\.mel: \d+ of 256 mel bins .* hold no FFT bin"):
        check.check_params(parameters.load(tmp_path / "params.yaml"))


def test_all_members_that_fail_are_named_at_once(tmp_path: Path) -> None:
    raw = tiny.tiny_params("chorus")
    for name in ("base", "pcen"):
        raw["members"][name]["backbone"] = f"{name}net"
    tiny.write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(CommandError, match=r"(?s)members\.base: .*basenet.*\nparams\.yaml: members\.pcen: .*pcennet"):
        check.check_params(parameters.load(tmp_path / "params.yaml"))


def test_what_it_writes_does_not_depend_on_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = []
    for base in ({}, {"backbone": "test_resnet", "dropout": 0.3}):
        write(tmp_path, base)
        check.main()
        written.append(CHECKED.read_bytes())
    assert written[0] == written[1]
