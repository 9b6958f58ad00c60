"""Opening a bundle, which may be a stranger's: its files, its description, then its graph."""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from birdcache.bundle.format import DESCRIPTION, MODEL, SUMS, Description, is_bundle
from birdcache.bundle.graph import OTHERS, Graph
from birdcache.errors import CommandError
from birdcache.files import file_sha256
from birdcache.text import printable

MOST_BYTES = {MODEL: 2**31 - 1, DESCRIPTION: 2**24, SUMS: 2**16}  # protobuf allows no more for a model
MOST_OTHER_BYTES, MOST_FILES = 2**24, 100
SUM = re.compile(r"([0-9a-f]{64})  ([^/\\\x00-\x1f]+)")


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory; `digest` is that of its list of checksums."""

    folder: Path
    description: Description
    graph: Graph
    digest: str


def open_bundle(folder: Path, device: str = "auto") -> Bundle:
    """Check and load a bundle.

    A CommandError if any file, value or the graph is not as a bundle's must be, or ONNX Runtime or the device cannot be
    used.

    Parameters
    ----------
    device : auto, cpu or cuda; auto takes a GPU if this ONNX Runtime can use one.
    """
    digest, promised = check_sums(folder)
    description = read_description(folder / DESCRIPTION)
    return Bundle(folder, description, Graph(folder / MODEL, promised[MODEL], description, device), digest)


def read_description(path: Path) -> Description:
    """Read bundle.json; a CommandError names the first value that no bundle of this version has."""
    try:
        return Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem: Any = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        rule = f"{key}: " * bool(key) + problem["msg"].removeprefix("Value error, ")[:500]
        way_out = "it is of another version: export it again" if problem["loc"] == ("version",) else OTHERS
        raise CommandError(f"{path}: {printable(rule)}; {way_out}") from None


def check_sums(folder: Path) -> tuple[str, dict[str, str]]:
    """Compare each file of a bundle with its SHA-256; names that begin with a dot are the system's, and never read.

    A CommandError if the folder is no bundle, or a damaged one.

    Returns
    -------
    The SHA-256 of SHA256SUMS, and what it holds: name -> SHA-256.
    """
    if not is_bundle(folder):
        way_out = "name one, such as bundles/birds.bundle, which `dvc repro optional/dvc.yaml:export` writes"
        raise CommandError(f"{folder}: is no bundle; {way_out}")
    promised = _promised(folder)
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    for name in sorted(there - promised.keys() - {SUMS}):
        raise CommandError(
            f"{folder / printable(name)}: is not named in {SUMS}, so it does not belong to the bundle; remove it"
        )
    for name, digest in promised.items():
        _check_file(folder / name)
        if file_sha256(folder / name) != digest:
            raise CommandError(
                f"{folder / name}: has other bytes than {SUMS} promises; copy the bundle again or export it again"
            )
    return file_sha256(folder / SUMS), promised


def _promised(folder: Path) -> dict[str, str]:
    """What SHA256SUMS holds: name -> SHA-256."""
    _check_file(folder / SUMS)
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{folder / SUMS}: cannot be read ({error}); copy the bundle again") from None
    found = [SUM.fullmatch(line) for line in lines]
    promised = {each[2]: each[1] for each in found if each and not each[2].startswith(".")}
    if not len(promised) == len(found) <= MOST_FILES:
        raise CommandError(f"{folder / SUMS}: is no list of up to {MOST_FILES} files, each once; {OTHERS}")
    for name in {MODEL, DESCRIPTION} - promised.keys():
        raise CommandError(f"{folder / SUMS}: names no {name}; copy the bundle again")
    return promised


def _check_file(path: Path) -> None:
    """Refuse what is missing, no file, or too large to be one of a bundle, before it is read."""
    try:
        facts = path.lstat()
    except OSError as error:
        state = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise CommandError(f"{path}: {state}; copy the bundle again or export it again") from None
    if not stat.S_ISREG(facts.st_mode):
        kind = "a link" if stat.S_ISLNK(facts.st_mode) else "no file"
        raise CommandError(f"{path}: is {kind}; copy the bundle with what it links to (`cp -rL`)")
    most = MOST_BYTES.get(path.name, MOST_OTHER_BYTES)
    if facts.st_size > most:
        raise CommandError(f"{path}: holds {facts.st_size:,} bytes, and no bundle's holds over {most:,}; {OTHERS}")
