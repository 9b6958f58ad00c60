"""Codes of classes from the names of their folders."""

from __future__ import annotations

import pytest

from birdcache.labels import is_label
from pipeline.dataset.classes import ClassName, class_names

INAT = "00034_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_badius"


def code(folder: str) -> str:
    return class_names([folder])[folder].code


@pytest.mark.parametrize("folder", ["robin", "song thrush", "Parus major_Great-Tit", "x" * 64, "_1"])
def test_a_folder_that_can_be_a_label_is_one(folder: str) -> None:
    assert class_names([folder])[folder] == ClassName(folder)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Bewick's Wren", "Bewicks_Wren"),
        ("wren, juvenile", "wren_juvenile"),
        ("Corvus sp.", "Corvus_sp"),
        ("Zaunkönig", "Zaunkonig"),
        ("Rødhals & Ærfugl", "Rodhals_AErfugl"),
        ("Łabędź", "Labedz"),
        ("(unknown)", "unknown"),
        ("=cmd", "cmd"),
        (INAT, "00034_Aves_Accipitriformes_Accipitridae_Accipiter_badius"),
        ("Thryomanes bewickii_Bewick's Wren", "Thryomanes_bewickii_Bewicks_Wren"),
    ],
)
def test_other_folders_have_a_code_of_their_letters(folder: str, expected: str) -> None:
    assert code(folder) == expected


def test_names_are_kept_and_those_in_known_patterns_are_understood() -> None:
    assert class_names(["Bewick's Wren"])["Bewick's Wren"].common_name == "Bewick's Wren"
    birdnet = class_names(["Thryomanes bewickii_Bewick's Wren"])["Thryomanes bewickii_Bewick's Wren"]
    assert (birdnet.scientific_name, birdnet.common_name) == ("Thryomanes bewickii", "Bewick's Wren")
    inat = class_names([INAT])[INAT]
    assert (inat.scientific_name, inat.common_name, inat.class_name) == ("Accipiter badius", INAT, "Aves")


@pytest.mark.parametrize(
    "folder",
    ["シジュウカラ", "大山雀 Parus major", "con", "row_id", "!!!", "y" * 80, "ab " * 40, "a.", "-", "é" * 70, "Straße"],
)  # fmt: skip
def test_every_code_is_a_label_and_always_the_same(folder: str) -> None:
    assert is_label(code(folder))
    assert class_names([folder, "Bewick's Wren", "other"])[folder].code == code(folder)


def test_no_two_folders_share_a_code() -> None:
    folders = ["Bewick's Wren", "Bewick’s Wren", "Bewicks_Wren", "大山雀", "山雀", "y" * 80, "y" * 81, "bewick's_wren!"]  # noqa: RUF001
    codes = [each.code for each in class_names(folders).values()]
    assert len({each.casefold() for each in codes}) == len(folders)
    assert codes[2] == "Bewicks_Wren", "a folder that is a label stays one"
    assert codes[0].startswith("Bewicks_Wren_")
    assert all(map(is_label, codes))
