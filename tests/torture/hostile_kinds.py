"""The kinds of hostile data sets, by name."""

from __future__ import annotations

import os
from pathlib import Path

from tests.torture.hostile import (
    BIRD,
    FORMULA,
    GOOD,
    LEAVES,
    PATH_RULE,
    Change,
    Kind,
    added,
    bind,
    both,
    cells,
    content,
    csv_text,
    in_row,
    lines,
    linked,
    named,
    other_form,
    whole,
)

NO_LABEL, RATING, FOLD = "primary_label is no label", "rating must be a number", "fold must be a whole number"
FOLDERS = {"layout": "folders", "root": "chorus/train_audio"} | dict.fromkeys(
    ("soundscapes", "soundscape_truth", "soundscape_labels")
)
DEEP = "[" * 50_000


def _paths() -> dict[str, Kind]:
    """Names of files that lead elsewhere, or are none."""
    leading = {
        "parent": "../../../outside/secret.ogg",
        "parent inside": "wren/../../../../outside/secret.ogg",
        "absolute": "/etc/passwd",
        "two slashes": "//host/share/a.ogg",
        "drive": "C:/Windows/a.ogg",
        "drive relative": "C:a.ogg",
        "UNC": "\\\\host\\share\\a.ogg",
        "device of Windows": "\\\\.\\PhysicalDrive0",
        "backslashes": "wren\\..\\..\\a.ogg",
        "URL": "https://example.org/a.ogg",
        "file URL": "file:///etc/passwd",
        "dot": ".",
        "blank": "  ",
        "escape sequence": "wren/\x1b[2Ja.ogg",
        "text turned round": "wren/\u202eggo.exe",
        "line end": "wren/a\n.ogg",
        "tab": "wren/a\tb.ogg",
        "long name": "wren/" + "a" * 300 + ".ogg",
    }
    kinds = {f"path: {name}": Kind(in_row(PATH_RULE), cells(filename=path)) for name, path in leading.items()}
    for name, path in {"home": "~/secret.ogg", "variable": "$HOME/a.ogg", "formula": FORMULA}.items():
        listed = f"chorus/train_audio/{path},unreadable"
        kinds[f"path: {name}"] = Kind(None, cells(filename=path), listed=listed)
    return kinds


def _files() -> dict[str, Kind]:
    """Rows that name what is no file of the data set."""
    made: dict[str, tuple[str, Change]] = {
        "link": (LEAVES, lambda path, outside: path.symlink_to(outside / "secret.ogg")),
        "link to a password": (LEAVES, lambda path, outside: path.symlink_to("/etc/passwd")),
        "link of a link": (LEAVES, _chain),
        "link to a pipe": ("is a pipe", lambda path, outside: path.symlink_to(outside / "pipe.ogg")),
        "link to a device": ("is a device", lambda path, outside: path.symlink_to("/dev/zero")),
        "pipe": ("is a pipe", lambda path, outside: os.mkfifo(path)),
        "socket": ("is a socket", lambda path, outside: bind(path)),
        "folder": ("is a folder", lambda path, outside: path.mkdir()),
    }
    kinds = {
        f"file: {name}": Kind(in_row(f"filename {rule}"), named("wren/odd.ogg", make))
        for name, (rule, make) in made.items()
    }
    through = both(linked("train_audio/far", "wren"), cells(filename="far/secret.ogg"))
    bare = both(linked("train_audio/far", "wren"), cells(primary_label="far", filename="secret.ogg"))
    return kinds | {
        "file: through a linked folder": Kind(in_row(f"filename {LEAVES}"), through),
        "file: bare name in a linked folder": Kind(None, bare, listed="chorus/train_audio/secret.ogg,unreadable"),
        "file: link inside": Kind(None, named("wren/in.ogg", lambda path, outside: path.symlink_to("XC0.ogg"))),
        "file: link round": Kind(
            None,
            named("wren/round.ogg", lambda path, outside: path.symlink_to("round.ogg")),
            listed="chorus/train_audio/wren/round.ogg,unreadable",
        ),
    }


def _chain(path: Path, outside: Path) -> None:
    path.with_name("between").symlink_to(outside / "secret.ogg")
    path.symlink_to("between")


def _names() -> dict[str, Kind]:
    """Labels that are no names, and names that are not told apart everywhere."""
    bad = {
        "parent": "../wren",
        "slash": "wr/en",
        "formula": FORMULA,
        "plus": "+1+1",
        "minus": "-1+1",
        "at": "@SUM(1)",
        "comma": "wren,owl",
        "line end": "wren\nowl",
        "markup": "<script>",
        "row_id": "row_id",
        "device of Windows": "con",
        "trailing dot": "wren.",
        "too long": "w" * 65,
        "letter that looks like another": "wr\u0435n",
    }
    kinds = {f"label: {name}": Kind(in_row(NO_LABEL), cells(primary_label=label)) for name, label in bad.items()}
    cafe = {"primary_label": "wren", "filename": "wren/caf\xe9.ogg"}
    return kinds | {
        "label: empty": Kind(in_row("primary_label is empty"), cells(primary_label="")),
        "label: other case": Kind("rows 4-5, 8: primary_label differs", added(GOOD[2] | {"primary_label": "Robin"})),
        "name: twice": Kind("rows 2, 8: filename is listed twice", added(GOOD[0])),
        "name: twice, dotted": Kind("rows 2, 8: filename is", added(GOOD[0] | {"filename": "./wren//XC0.ogg"})),
        "name: other case": Kind("rows 2, 8: filename differs", added(GOOD[0] | {"filename": "wren/xc0.OGG"})),
        "name: other form": Kind(
            "rows 8-9: filename differs", added(cafe, cafe | {"filename": other_form(cafe["filename"])})
        ),
    }


def _cells() -> dict[str, Kind]:
    """Numbers that are none, and lists that are code."""
    secondary = {"code": "__import__('os').system('id')", "deep": DEEP, "open": "['wren'", "path": "['../wren']"}
    rating = {
        "nan": "nan",
        "infinite": "inf",
        "huge": "1e999",
        "negative": "-1",
        "above": "6",
        "grouped": "0_1",
        "wide": "\uff14",
    }
    place = {"beyond the pole": "90.1", "nan": "nan", "infinite": "-inf", "huge": "1e308", "comma": "51,5"}
    fold = {"negative": "-1", "half": "1.5", "huge": "9" * 30, "wide": "\uff11"}
    return {
        **{
            f"secondary: {name}": Kind(in_row("secondary_labels must look like"), cells(secondary_labels=text))
            for name, text in secondary.items()
        },
        **{f"rating: {name}": Kind(in_row(RATING), cells(rating=text)) for name, text in rating.items()},
        **{
            f"latitude: {name}": Kind(in_row("latitude must be a number"), cells(latitude=text))
            for name, text in place.items()
        },
        "longitude: beyond": Kind(in_row("longitude must be a number"), cells(longitude="-180.5")),
        **{f"fold: {name}": Kind(in_row(FOLD), cells(fold=text)) for name, text in fold.items()},
        "author: control character": Kind(in_row("author holds a control character"), cells(author="ann\x07")),
        "author: formula": Kind(None, cells(author=FORMULA), holds={"data/tables/recordings.csv": f"'{FORMULA}"}),
        "many bad rows": Kind(
            "rows 8-1007: filename must be",
            added(*[GOOD[0] | {"filename": f"../{number}"} for number in range(1000)]),
        ),
    }


def _tables() -> dict[str, Kind]:
    """Tables that are none."""
    text = csv_text(GOOD)
    tables = {
        "UTF-16": ("is text in UTF-16", text.encode("utf-16")),
        "UTF-16, big end first": ("is text in UTF-16", b"\xfe\xff" + text.encode("utf-16-be")),
        "UTF-16 without a mark": ("row 1: is not text in UTF-8", text.encode("utf-16-le")),
        "Latin-1": (in_row("holds bytes that are not UTF-8"), text.replace("ann 2", "ren\xe9").encode("latin-1")),
        "empty": ("is empty", b""),
        "header only": ("lists no recording", text.partition("\n")[0].encode()),
        "no column": ("missing columns: filename", text.replace("filename", "file").encode()),
        "column twice": ("columns named twice in row 1: 'rating'", text.replace("latitude", "rating").encode()),
        "semicolons": ("missing columns: primary_label, filename; row 1", text.replace(",", ";").encode()),
        "endless line": ("more than 1,048,576 characters", text.encode() + b"a" * 3 * 2**20),
        "a picture": ("row 1: is not text in UTF-8", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200)),
        "a workbook": ("is", b"PK\x03\x04\x14\0\x06\0\x08\0" + bytes(range(256)) * 4),
    }
    rows: dict[str, tuple[str, Change]] = {
        "long row": (in_row("does not have 8 cells"), lines(lambda line: line + ",more")),
        "short row": (in_row("does not have 8 cells"), lines(lambda line: line.rpartition(",")[0])),
        "open quote": (
            "row 7: a quotation mark that opens in it is never closed",
            lines(lambda line: line[:-1], row=7),
        ),
        "text behind a quote": (in_row("text follows a closing quotation mark"), lines(lambda line: line + "x")),
        "NUL": (in_row("holds NUL characters"), lines(lambda line: line.replace("ann", "a\0n"))),
        "huge cell": (in_row("a cell holds more than"), lines(lambda line: line.replace("ann", "a" * 200_000))),
    }
    return {
        **{f"table: {name}": Kind(rule, whole(new)) for name, (rule, new) in tables.items()},
        **{f"table: {name}": Kind(rule, change) for name, (rule, change) in rows.items()},
        "table: UTF-8 with a mark": Kind(None, content("train.csv", lambda old: b"\xef\xbb\xbf" + old)),
        "table: line ends of Windows": Kind(None, content("train.csv", lambda old: old.replace(b"\n", b"\r\n"))),
        "table: blank rows": Kind(None, content("train.csv", lambda old: old.replace(b"\n", b"\n\n") + b",,,,,,,\n")),
        "table: link": Kind(LEAVES, linked("train.csv", "secret.csv")),
        "table: pipe": Kind("is a pipe", linked("train.csv", "pipe.ogg")),
        "table: folder": Kind("is a folder", linked("train.csv", "wren")),
    }


def _other_tables() -> dict[str, Kind]:
    """Tables beside train.csv."""
    return {
        "taxonomy: twice": Kind(
            "rows 2-3: primary_label is named twice",
            content("taxonomy.csv", lambda old: old.replace(b"robin", b"wren")),
        ),
        "taxonomy: NUL": Kind("row 2: holds NUL", content("taxonomy.csv", lambda old: old.replace(b"Wren", b"W\0"))),
        "taxonomy: link": Kind(LEAVES, linked("taxonomy.csv", "secret.csv")),
        "taxonomy: formula": Kind(
            None,
            content("taxonomy.csv", lambda old: old.replace(b"Robin", b"=1+1")),
            holds={"data/tables/labels.csv": ",'=1+1,"},
        ),
        "submission: formula": Kind(
            "row 1: '=1+1' cannot be labels", content("sample_submission.csv", lambda old: old.replace(b"owl", b"=1+1"))
        ),
        "submission: twice": Kind(
            "row 1 must be row_id and then each label once",
            content("sample_submission.csv", lambda old: old.replace(b"owl", b"wren")),
        ),
        "submission: link": Kind(LEAVES, linked("sample_submission.csv", "secret.csv")),
        "submission: pipe": Kind("is a pipe", linked("sample_submission.csv", "pipe.ogg")),
        "truth: formula": Kind(
            "row 2: row_id begins with", content("truth.csv", lambda old: old.replace(b"dawn", b"=1+1"))
        ),
        "truth: path": Kind(
            "row 2: labels must be", content("truth.csv", lambda old: old.replace(b"wren", b"../wren"))
        ),
        "truth: link": Kind(LEAVES, linked("truth.csv", "secret.csv")),
        "truth: elsewhere": Kind(
            "must be a path below root", cells(), data={"soundscape_truth": "../../outside/secret.csv"}
        ),
    }


def _folders() -> dict[str, Kind]:
    """Folders of audio, and the layout that has nothing else."""
    return {
        "soundscapes: elsewhere": Kind("must be a path below root", cells(), data={"soundscapes": "/etc"}),
        "soundscapes: linked folder": Kind(LEAVES, linked("test_soundscapes", "wren")),
        "soundscapes: link": Kind("'x.ogg' are links that lead out", linked("test_soundscapes/x.ogg", "secret.ogg")),
        "soundscapes: formula": Kind(
            "'=1+1.ogg' begins with", lambda root, outside: (root / "test_soundscapes/=1+1.ogg").touch()
        ),
        "soundscapes: other case": Kind(
            "would share their row_ids", lambda root, outside: (root / "test_soundscapes/DAWN.wav").touch()
        ),
        "soundscapes: pipe": Kind(
            None,
            lambda root, outside: os.mkfifo(root / "test_soundscapes/p.ogg"),
            listed="chorus/test_soundscapes/p.ogg,unreadable",
        ),
        "audio: linked folder": Kind(LEAVES, linked("train_audio", "wren")),
        "folders: linked folder": Kind("leads out of", linked("train_audio/far", "wren"), FOLDERS),
        "folders: link": Kind(
            "'x.ogg' are links that lead out", linked("train_audio/wren/x.ogg", "secret.ogg"), FOLDERS
        ),
        "folders: no label": Kind(
            "'=1+1' cannot be labels",
            lambda root, outside: (root / "train_audio/owl").rename(root / "train_audio/=1+1"),
            FOLDERS,
        ),
        "folders: other case": Kind(
            "'XC0.ogg', 'xc0.ogg' are alike", lambda root, outside: (root / "train_audio/wren/xc0.ogg").touch(), FOLDERS
        ),
        "folders: backslash": Kind(
            "are not printable text, or hold a",
            lambda root, outside: (root / "train_audio/wren/a\\b.ogg").touch(),
            FOLDERS,
        ),
        "folders: pipe": Kind(
            None,
            lambda root, outside: os.mkfifo(root / "train_audio/wren/p.ogg"),
            FOLDERS,
            listed="chorus/train_audio/wren/p.ogg,unreadable",
        ),
    }


KINDS: dict[str, Kind] = {
    "as it should be": Kind(None, cells(filename=BIRD)),
    **_paths(),
    **_files(),
    **_names(),
    **_cells(),
    **_tables(),
    **_other_tables(),
    **_folders(),
}
