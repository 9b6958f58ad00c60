"""Stage `check`: a member that cannot be built, or cannot process its clips, is refused before anything is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from birdcache.errors import CommandError
from birdcache.params import load as parameters
from commands.project import check
from tests.fixtures import tiny


def write(root: Path, base: dict[str, Any]) -> None:
    raw = tiny.tiny_params("chorus")
    raw["members"]["base"] |= base
    tiny.write_params(root / "params.yaml", raw)


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({"backbone": "efficientnet_b00"}, "'efficientnet_b00': timm has no such model; similar names: "),
        ({"pretrained": "weights/none.safetensors"}, "none.safetensors': no such file or folder; correct the path"),
        ({"backbone": "test_vit", "head": "sed"}, "head = 'sed': backbone test_vit has no feature maps"),
        ({"backbone": "test_vit", "pool": "gem"}, "pool = 'gem': backbone test_vit does not end in"),
        ({"pretrained": "other.safetensors"}, "'other.safetensors': lacks "),
    ],
)
def test_what_no_training_could_start_with_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"conv_stem.weight": torch.zeros(2)}, "other.safetensors")
    write(tmp_path, base)
    with pytest.raises(CommandError) as refused:
        check.check_params(parameters.load(tmp_path / "params.yaml"))
    assert str(refused.value).startswith("params.yaml: members.base: ")
    assert told in str(refused.value)


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
    with pytest.raises(CommandError, match=r"(?s)members\.base: .*basenet.*\nmembers\.pcen: .*pcennet"):
        check.check_params(parameters.load(tmp_path / "params.yaml"))


def test_what_it_writes_does_not_depend_on_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = []
    for base in ({}, {"backbone": "test_resnet", "dropout": 0.3}):
        write(tmp_path, base)
        check.main()
        written.append((tmp_path / check.CHECKED).read_bytes())
    assert written[0] == written[1]
