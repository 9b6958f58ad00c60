"""A short form of the trial of strangers' data sets, and that it notices when a protection is taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from birdcache import user_tables
from birdcache.audio.paths import Bounds
from cache import csv_files
from pipeline.dataset import birdclef, scan
from tests.torture import hostile_kinds, strangers
from tests.torture.opens import kernel_watch

pytestmark = pytest.mark.slow

patch = setattr  # in a process that ends with its trial


def test_data_sets_by_strangers_are_refused_with_rows_and_open_nothing_outside() -> None:
    outcome = strangers.trial(12)
    assert (outcome.failed, outcome.worst) == (0, "none")
    assert outcome.tried >= 12
    assert outcome.figure.endswith(" 0 outside")


def test_there_are_sixty_kinds_and_more() -> None:
    assert len(hostile_kinds.KINDS) >= 120
    assert sum(kind.rule is not None for kind in hostile_kinds.KINDS.values()) >= 100


def without_bounds() -> None:
    patch(Bounds, "why_outside", lambda self, path: "")
    patch(scan, "content_sha256", lambda path: "0" * 64)  # so that only the decoder opens it


def test_trial_notices_what_is_opened_through_a_link_by_the_decoder() -> None:
    outcome = strangers.trial(spoil=without_bounds, only="file: link of")
    assert outcome.failed == 3
    assert outcome.worst.startswith("file: link of a link: was not refused")
    assert outcome.figure.endswith(" 2 outside")  # one told by the audit hook, one by the kernel


def without_path_rule() -> None:
    patch(birdclef, "is_inner_path", lambda text, remote=False: True)
    patch(Bounds, "why_not", lambda self, path: "")


def test_trial_notices_a_path_that_leads_elsewhere() -> None:
    outcome = strangers.trial(spoil=without_path_rule, only="path: parent inside")
    assert outcome.failed == 1
    assert "was not refused with" in outcome.worst


def without_escapes() -> None:
    patch(csv_files, "escaped", lambda text: text)


def test_trial_notices_a_formula() -> None:
    assert strangers.trial(spoil=without_escapes, only="author: formula").worst.endswith("calc'!A0")


def without_encoding_rule() -> None:
    patch(user_tables, "text_problem", lambda record, tabs: "")


def test_trial_notices_bytes_in_another_encoding() -> None:
    outcome = strangers.trial(spoil=without_encoding_rule, only="table: Latin-1")
    assert outcome.failed == 1
    assert "was not refused with 'row 4: holds bytes that are not UTF-8'" in outcome.worst


def test_kernel_watch_hears_what_is_read_and_only_there(tmp_path: Path) -> None:
    for name in ("watched", "free"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("a")
    with kernel_watch([tmp_path / "watched"]) as heard:
        (tmp_path / "free/a").read_text()
        assert heard == []
    assert heard == []
    with kernel_watch([tmp_path / "watched"]) as heard:
        (tmp_path / "watched/a").read_text()
    assert set(heard) == {str(tmp_path / "watched/a")}


def test_kernel_watch_that_cannot_watch_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the kernel watches no folders"), kernel_watch([tmp_path / "no"]):
        pass


def test_bounds_follow_links_inside_only(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").touch()
    (tmp_path / "root-2").touch()
    (tmp_path / "root/link").symlink_to("a")
    (tmp_path / "root/out").symlink_to(tmp_path / "root-2")
    (tmp_path / "alias").symlink_to("root")
    for root in (tmp_path / "root", tmp_path / "alias"):
        bounds = Bounds(root, "inside")
        assert [bounds.why_not(root / name) for name in ("a", "link", "missing")] == ["", "", ""]
        assert bounds.why_not(root / "out") == f"leads out of {root} by a symbolic link"
        assert Bounds(root, "anywhere").why_not(root / "out") == ""
        assert bounds.plain_files(root) == {"a"}
    assert Bounds(tmp_path / "root", "inside").why_not(tmp_path / "root") == "is a folder, not a file"
