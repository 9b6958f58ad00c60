"""`birdcache kaggle`: all that scores the hidden soundscapes of a Kaggle competition without internet, in a folder."""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from birdcache.bundle.read import open_bundle
from birdcache.checkout import ROOT, version
from birdcache.errors import CommandError
from birdcache.files import file_sha256, write_text
from birdcache.kaggle import kernel

TEMPLATES = Path(__file__).parent / "templates"
LOCK = Path(kernel.__file__).with_name("requirements.lock")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "birdcache")
PLATFORMS = [f"--platform=manylinux{each}_x86_64" for each in ("_2_28", "_2_27", "_2_17", "2014")]


def run(arguments: argparse.Namespace) -> None:
    """Write `data/`, a data set of the bundle and wheels, and `kernel/`, the script; a CommandError if any lacks."""
    out = arguments.out.absolute()
    if out.exists():
        raise CommandError(f"--out {arguments.out}: is there already; remove it, or name a new folder")
    for key in ("user", "competition"):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", value := getattr(arguments, key)):
            raise CommandError(
                f"--{key} {value}: is no name in Kaggle's addresses; give letters, digits, - and _ alone"
            )
    bundle = open_bundle(arguments.bundle, "cpu")
    name = f"birdcache-{re.sub('[^a-z0-9]+', '-', bundle.description.name.lower())}".strip("-")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        new = Path(scratch, out.name)
        shutil.copytree(bundle.folder, new / "data/bundle")
        write_wheels(new / "data/wheels", arguments.python, arguments.wheels)
        for path in ("data/dataset-metadata.json", "kernel/kernel-metadata.json"):  # for Kaggle's own command
            template = Template((TEMPLATES / Path(path).name).read_text())
            write_text(new / path, template.substitute(vars(arguments), name=name))
        shutil.copyfile(kernel.__file__, new / "kernel/kernel.py")
        new.rename(out)
    size_mb = sum(path.stat().st_size for path in out.rglob("*.*")) / 1e6
    print(f"{arguments.out}: {size_mb:.0f} MB for Kaggle; docs/deploy.md says how it gets there")


def write_wheels(folder: Path, python: str, source: Path | None) -> None:
    """Write birdcache's wheel, and those of LOCK by their SHA-256s, from a folder or (None) from pip's index."""
    wanted = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={python}", *PLATFORMS]
    offline = ["--no-index", f"--find-links={source}"] if source else []
    pip("download", *wanted, *offline, f"--requirement={LOCK}", f"--dest={folder}")
    with TemporaryDirectory() as copy:  # setuptools leaves files behind
        for name in SOURCES:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, Path(copy, name))
        pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", copy)
    (own,) = folder.glob("birdcache-*.whl")
    own_line = f"birdcache=={version()} --hash=sha256:{file_sha256(own)}\n"
    write_text(folder / kernel.WHEELS, LOCK.read_text(encoding="utf-8") + own_line)


def pip(*arguments: str) -> None:
    """Run pip; a CommandError with its last error if it fails, such as a wheel that has another SHA-256."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.rpartition("ERROR: ")[2].strip()
        raise CommandError(f"pip {arguments[0]}: {why}; or name a folder that holds the wheels: --wheels DIR")
