"""Names of audio files."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from birdcache.audio.suffixes import AUDIO_EXTENSIONS, FOREIGN, conversion, is_foreign, is_recording


@pytest.mark.parametrize("name", ["a.ogg", "a.OPUS", "a.b.oga", "a.Wav", "a.aifc", "a.caf", "a.mpga"])
def test_what_can_be_decoded_is_a_recording_however_its_name_is_spelt(name: str) -> None:
    assert is_recording(Path("robin") / name)
    assert not is_foreign(Path("robin") / name)


@pytest.mark.parametrize("name", ["._a.ogg", ".ogg", ".a.m4a", "a.txt", "ogg", "a.ogg.part"])
def test_dotted_names_and_others_are_neither_recordings_nor_foreign_sound(name: str) -> None:
    assert not is_recording(Path(name))
    assert not is_foreign(Path(name))


def test_foreign_sound_is_told_from_what_can_be_decoded() -> None:
    assert is_foreign(Path("robin/a.M4A"))
    assert is_foreign(Path("robin/a.au"))
    assert not FOREIGN.intersection(AUDIO_EXTENSIONS)


def test_conversion_is_one_command_for_all_files_of_a_folder_whatever_it_is_called() -> None:
    words = shlex.split(conversion(Path("my birds; ls"), [".WMA", ".m4a"]))
    assert words[:2] == ["find", "my birds; ls"]
    assert [word for word in words if word.startswith("*")] == ["*.m4a", "*.wma"]
    assert words[-3:] == ["-vn", "{}.flac", ";"]
