"""Codes for classes whose folders are called otherwise: `Bewick's Wren` becomes Bewicks_Wren, and stays its name."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from birdcache.audio.paths import folded
from birdcache.files import sha256_hex
from birdcache.labels import LONGEST, is_label

_DIGITS = 6  # of a digest, where letters alone would not do
_APOSTROPHES = re.compile(r"['`´‘’ʻʼ]")  # noqa: RUF001
_STROKES = re.compile(r"LATIN (?:SMALL|CAPITAL) (?:LETTER|LIGATURE) ([A-Z]{1,2})(?: WITH .*)?")
_BIRDNET = re.compile(r"([A-Z][a-z-]+ [a-z-]+(?: [a-z-]+)?)_(.+)")
_INAT = re.compile(r"\d{5}_[A-Z][a-z]+_[A-Z][a-z]+_([A-Z][a-z]+)_\w+_\w+_([A-Z][a-z-]+)_([a-z-]+)")


@dataclass(frozen=True)
class ClassName:
    """Names of a class, as far as its folder tells them."""

    code: str
    scientific_name: str = ""
    common_name: str = ""
    class_name: str = ""


def class_names(folders: Iterable[str]) -> dict[str, ClassName]:
    """A label for each folder: itself if it can be one, else a code made of its letters, and its names.

    A code depends on its folder alone, unless others would share it: then it ends in a digest of the name.
    """
    codes = {folder: folder if is_label(folder) else _code(folder) for folder in folders}
    count = Counter(map(folded, codes.values()))
    return {
        folder: ClassName(code) if code == folder else _named(folder, _marked(code, folder, count[folded(code)] > 1))
        for folder, code in codes.items()
    }


def _code(folder: str) -> str:
    """The letters and digits of a name, without accents, words joined by _; a long name goes without its middle."""
    plain = "".join(map(_ascii, unicodedata.normalize("NFKD", _APOSTROPHES.sub("", folder))))
    is_whole = "\0" not in plain
    words = [word for word in re.split(r"[^A-Za-z0-9.-]+", plain.replace("\0", " ")) if word.strip("-.")]
    room = LONGEST - _DIGITS - 1
    while len(words) > 2 and len("_".join(words)) > room:
        del words[1]
    code = "_".join(words)[:room].strip("-._")
    return _marked(code, folder, not (is_whole and is_label(code)))


def _ascii(letter: str) -> str:
    """The letter's nearest ones in ASCII, "" for an accent, and a mark if there are none."""
    if letter.isascii() or unicodedata.category(letter).startswith("M"):
        return letter if letter.isascii() else ""
    if stroke := _STROKES.fullmatch(unicodedata.name(letter, "")):
        return stroke[1] if letter.isupper() else stroke[1].lower()
    return {"ß": "ss"}.get(letter, "\0" if letter.isalnum() else " ")


def _marked(code: str, folder: str, needed: bool) -> str:
    digest = sha256_hex(unicodedata.normalize("NFC", folder).encode())[:_DIGITS]
    return f"{code or 'class'}_{digest}" if needed else code


def _named(folder: str, code: str) -> ClassName:
    """The names in `Genus species_Common Name`, as for BirdNET, and in iNaturalist's folders; else the folder's own."""
    if birdnet := _BIRDNET.fullmatch(folder):
        return ClassName(code, birdnet[1], birdnet[2])
    if inat := _INAT.fullmatch(folder):
        return ClassName(code, f"{inat[2]} {inat[3]}", folder, inat[1])
    return ClassName(code, common_name=folder)
