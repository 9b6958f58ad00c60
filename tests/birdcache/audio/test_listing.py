"""The listing of recordings: every file is used, left out with a reason, or no sound; and what cannot be opened."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from birdcache.audio.listing import Listing, left_out_lines, list_audio
from birdcache.audio.paths import Bounds
from birdcache.audio.walk import is_systems_own

SYSTEMS_OWN = [
    "._a.ogg",
    ".DS_Store",
    ".Trashes/gone.ogg",
    "robin/.git/a.wav",
    "__MACOSX/robin/b.ogg",
    "$RECYCLE.BIN/c.wav",
]
WAVE, AIFF = b"RIFF\x24\x00\x00\x00WAVEfmt ", b"FORM\x00\x00\x00\x00AIFF"


def files(root: Path, *names: str | bytes, content: bytes = b"x") -> None:
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def listed(root: Path, links: str = "inside") -> Listing:
    return list_audio(root, Bounds(root, links))  # type: ignore[arg-type]


def names_of(listing: Listing, root: Path) -> list[str]:
    return [path.as_posix().removeprefix(f"{root}/") for path in listing.used]


def test_recordings_are_found_however_deep_and_in_order_of_their_paths(tmp_path: Path) -> None:
    files(tmp_path, "wren/b.ogg", "wren/a/2024/x.OPUS", "robin/A.Wav", "loose.aiff", "wren-2/c.mpga")
    assert names_of(listed(tmp_path), tmp_path) == [
        "loose.aiff", "robin/A.Wav", "wren/a/2024/x.OPUS", "wren/b.ogg", "wren-2/c.mpga"
    ]  # fmt: skip


def test_what_systems_leave_behind_is_never_a_recording(tmp_path: Path) -> None:
    files(tmp_path, "robin/a.ogg", *SYSTEMS_OWN)
    files(tmp_path / ".card", "a.ogg", "._a.ogg")
    assert names_of(listed(tmp_path), tmp_path) == ["robin/a.ogg"]
    assert (listed(tmp_path).left_out, listed(tmp_path).others) == ((), 0)
    assert names_of(listed(tmp_path / ".card"), tmp_path / ".card") == ["a.ogg"], "whoever names such a folder means it"


def test_every_file_is_used_or_left_out_or_no_sound(tmp_path: Path) -> None:
    """Counted by another walk than the listing's own."""
    files(
        tmp_path, "robin/a.ogg", "robin/x/b.mp3", "robin/c.m4a", "d.WMA", "notes.txt", "robin/list.csv", b"gr\xfcn.wav"
    )
    files(tmp_path, "robin/XC1", "robin/d.ogg.part", content=b"OggS")
    files(tmp_path, *SYSTEMS_OWN)
    (tmp_path / "robin/gone.ogg").symlink_to("/nowhere/gone.ogg")
    (tmp_path / "robin/gone.txt").symlink_to("/nowhere/gone.txt")
    os.mkfifo(tmp_path / "robin/pipe.wav")
    inside = [Path(at, name).relative_to(tmp_path) for at, _, names in os.walk(tmp_path) for name in names]
    found = [path for path in inside if not any(map(is_systems_own, path.parts))]
    listing = listed(tmp_path)
    assert (len(listing.used), len(listing.left_out), listing.others) == (2, 7, 3)
    assert len(found) == 2 + 7 + 3
    assert Counter(each.code for each in listing.left_out) == {"unreadable": 3, "not-used": 4}


def test_files_of_other_formats_come_with_one_command_for_all(tmp_path: Path) -> None:
    root = tmp_path / "my birds"
    files(root, "robin/a.m4a", "robin/site 1/b.M4A", "wren/c.wma", "wren/d.ogg")
    (line,) = left_out_lines(listed(root).left_out)
    assert line.startswith(f"3 files are not used, first {root}/robin/a.m4a: must be converted first; find ")
    recorder = tmp_path / "ffmpeg"
    recorder.write_text('#!/bin/sh\nfor last; do :; done; echo fLaC > "$last"\n')
    recorder.chmod(0o755)
    command = line.split("; ", 1)[1]
    subprocess.run(["sh", "-c", command], check=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    after = listed(root)
    assert names_of(after, root) == ["robin/a.m4a.flac", "robin/site 1/b.M4A.flac", "wren/c.wma.flac", "wren/d.ogg"]
    assert (after.left_out, after.others) == ((), 3), "a converted file's original is told of no more"
    assert shlex.split(command)[1] == str(root)


@pytest.mark.parametrize("content", [b"OggS", b"fLaC", b"ID3\x03\x00", WAVE, AIFF, b"caff\x00\x01", b".snd\x00"])
def test_sound_under_a_name_that_says_nothing_is_told(tmp_path: Path, content: bytes) -> None:
    files(tmp_path, "robin/XC1", "robin/a.ogg.bak", content=content)
    assert [each.code for each in listed(tmp_path).left_out] == ["not-used", "not-used"]
    assert "give it the ending of its format" in listed(tmp_path).left_out[0].hint


@pytest.mark.parametrize(
    "content", [b"", b"ID3 is a tag", b"RIFF....WEBPVP8 ", b"FORM....ILBM", b"\xff\xfet\x00", b"{}"]
)
def test_other_files_are_counted_only(tmp_path: Path, content: bytes) -> None:
    files(tmp_path, "notes", "robin/a.jpg", content=content)
    assert (listed(tmp_path).left_out, listed(tmp_path).others) == ((), 2)


@pytest.mark.parametrize("name", [b"gr\xfcn.wav", b"a\nb.ogg", b"\x1b[2J.ogg", "a\u202egpj.ogg".encode()])
def test_a_name_that_cannot_be_printed_is_listed_and_stops_nothing(tmp_path: Path, name: bytes) -> None:
    files(tmp_path, name, "robin.ogg")
    assert names_of(listed(tmp_path), tmp_path) == ["robin.ogg"]
    (rejected,) = listed(tmp_path).left_out
    assert "not printable" in rejected.detail
    assert re.fullmatch(r"[ -~]*\\[xnu][ -~]*", rejected.file)


def test_links_are_followed_within_the_root_and_never_round_and_round(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files(root, "robin/a.ogg")
    files(tmp_path, "far/b.ogg")
    (root / "erithacus").symlink_to("robin")
    (root / "robin/up").symlink_to("..")
    (root / "far").symlink_to(tmp_path / "far")
    (root / "c.ogg").symlink_to(tmp_path / "far/b.ogg")
    (root / "loop.ogg").symlink_to("loop.ogg")
    assert names_of(listed(root), root) == ["erithacus/a.ogg", "robin/a.ogg"]
    reasons = {Path(each.file).name: each.detail for each in listed(root).left_out}
    assert reasons.keys() == {"far", "c.ogg", "loop.ogg"}
    assert "leads out of" in reasons["far"]
    assert "leads nowhere" in reasons["loop.ogg"]
    anywhere = listed(root, "anywhere")
    assert names_of(anywhere, root) == ["c.ogg", "erithacus/a.ogg", "far/b.ogg", "robin/a.ogg"]


def test_files_that_are_none_and_folders_that_cannot_be_read_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "robin/a.ogg", "wren/b.ogg")
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.ogg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.wav")
    scandir = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "wren":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "a.ogg")
    reasons = {each.file: each.detail for each in listed(Path()).left_out}
    assert reasons == {
        "pipe.ogg": "is a pipe, not a file",
        "robin/a.ogg": "cannot be read (Permission denied)",
        "socket.wav": "is a socket, not a file",
        "wren": "cannot be read (Permission denied)",
    }


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_folder_without_permissions_is_listed(tmp_path: Path) -> None:
    files(tmp_path, "wren/b.ogg")
    (tmp_path / "wren").chmod(0)
    try:
        assert [each.detail for each in listed(tmp_path).left_out] == ["cannot be read (Permission denied)"]
    finally:
        (tmp_path / "wren").chmod(0o755)
