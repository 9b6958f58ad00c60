"""`birdcache page`: which files it writes, and which bundles and folders it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from birdcache import cli
from birdcache.bundle.format import DESCRIPTION, MODEL
from birdcache.errors import CommandError
from birdcache.page import build
from birdcache.page.build import SITE, bundle_files, write_page
from tests.birdcache.page.conftest import known_bundle
from tests.fixtures.hostile_bundle import external

OWN = {path.name: path.read_text() for path in SITE.iterdir()}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle; onnxruntime-web is two words, and the working folder is an empty one."""
    monkeypatch.setattr(build, "runtime_files", lambda *_: {"ort.mjs": b"code", "ort.wasm": b"compiled"})
    monkeypatch.chdir(tmp_path)
    return known_bundle(tmp_path / "birds.bundle")


def test_a_page_is_one_flat_folder(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["page", str(bundle)])
    names = {path.name for path in Path("site").iterdir()}
    assert names == {*OWN, MODEL, DESCRIPTION, "ort.mjs", "ort.wasm"}
    assert Path("site", MODEL).read_bytes() == (bundle / MODEL).read_bytes()
    told = json.loads(Path("site", DESCRIPTION).read_text())
    given = json.loads((bundle / DESCRIPTION).read_text())
    assert told["members"] == {"base": {"weight": 1.0}}
    assert (told["slopes"], told["offsets"]) == ([], [])
    members = given.pop("members")
    given["inputs"][0]["tail"] = 0  # which older bundles do not name
    assert told["members"].keys() == members.keys()
    assert {key: told[key] for key in given} == given
    assert "`python -m http.server --directory site`" in capsys.readouterr().out


def test_a_page_is_written_anew_but_never_among_other_files(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["page", str(bundle), "--out", "a/b"])
    Path("a/b/index.html").write_text("old")
    cli.main(["page", str(bundle), "--out", "a/b"])
    assert Path("a/b/index.html").read_text() == OWN["index.html"]
    Path("a/b/thesis.txt").touch()
    with pytest.raises(SystemExit, match="1"):
        cli.main(["page", str(bundle), "--out", "a/b"])
    assert "--out a/b: holds thesis.txt, which is no part of the page; name a new folder" in capsys.readouterr().err
    with pytest.raises(CommandError, match="is a file; name a folder"):
        write_page(Path("a/b/thesis.txt"), {})


def test_what_is_no_good_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"is no bundle; name one, such as bundles/birds\.bundle"):
        bundle_files(tmp_path)
    with pytest.raises(CommandError, match=r"model\.onnx: keeps numbers in other files"):
        bundle_files(known_bundle(tmp_path / "external.bundle", external("/etc/passwd")))
    with pytest.raises(CommandError, match=r"bundle\.json: names\.wren: holds a character that cannot be printed"):
        bundle_files(known_bundle(tmp_path / "names.bundle", names={"wren": "\u202ewren"}))
    (bundle / MODEL).write_bytes(b"other")
    with pytest.raises(CommandError, match="has other bytes than SHA256SUMS promises"):
        bundle_files(bundle)


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith((".js", ".html"))])
def test_the_page_makes_no_markup_of_text_and_names_no_other_place(name: str) -> None:
    text = OWN[name]
    dangerous = "innerHTML|outerHTML|insertAdjacentHTML|document.write|createContextualFragment|DOMParser|eval|Function"
    assert not re.search(dangerous, text)
    assert not re.search(r"\bon[a-z]+=|javascript:|<script>|style=", text), "no code or style in the markup"
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert text.count("\n") < 300
