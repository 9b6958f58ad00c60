"""`birdcache page`: a folder of static files in which a browser scores recordings by a bundle, without a server."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from birdcache.bundle.format import DESCRIPTION, MODEL
from birdcache.bundle.graph import OTHERS
from birdcache.bundle.onnx_file import check_onnx
from birdcache.bundle.read import check_sums, read_description
from birdcache.errors import CommandError
from birdcache.files import write_durably
from birdcache.page.runtime import runtime_files

SITE = Path(__file__).parent / "site"
UNUSED = {"members": {"__all__": {"resolved", "weights_sha256"}}}  # of bundle.json


def run(arguments: argparse.Namespace) -> None:
    """Write the page of a bundle, and say what to do with it."""
    files, out = page_files(arguments), arguments.out
    write_page(out, files)
    size_mb = sum(map(len, files.values())) / 1e6
    print(
        f"{out}: {len(files)} files, {size_mb:.0f} MB; put the folder on any web server, or see it here with "
        f"`python -m http.server --directory {out}`"
    )


def page_files(arguments: argparse.Namespace) -> dict[str, bytes]:
    """All files of the page by name; a CommandError if the bundle or onnxruntime-web is not as it must be."""
    own = {path.name: path.read_bytes() for path in sorted(SITE.iterdir())}
    return own | bundle_files(arguments.model) | runtime_files(arguments.runtime, arguments.fetch)


def bundle_files(folder: Path) -> dict[str, bytes]:
    """A bundle's graph, and what the page needs of bundle.json; both are checked as if they were to be run here."""
    check_sums(folder)
    description = read_description(folder / DESCRIPTION).model_dump_json(exclude=UNUSED)
    model = (folder / MODEL).read_bytes()
    try:
        check_onnx(model)
    except ValueError as error:
        raise CommandError(f"{folder / MODEL}: {error}; {OTHERS}") from None
    return {DESCRIPTION: description.encode(), MODEL: model}


def write_page(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder that holds nothing else."""
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out}: is a file; name a folder")
    if others := sorted({path.name for path in out.glob("*")} - files.keys()):
        raise CommandError(f"--out {out}: holds {others[0]}, which is no part of the page; name a new folder")
    for name, content in files.items():
        write_durably(out / name, content)
