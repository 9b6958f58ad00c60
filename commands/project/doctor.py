"""`birdcache doctor`: problems of this machine and this checkout, each with its fix."""

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from birdcache.errors import CommandError, StoreError, check_open_files
from birdcache.params import load as params
from birdcache.params.model import Params
from birdcache.storage import place, reaching
from birdcache.text import counted, printable
from cache.remote_pool import open_pool
from commands.project.hashable import data_folders, unhashable
from pipeline.dataset.sources import roots

PACKAGES = ("torch", "timm", "zarr", "librosa", "soundfile", "soxr", "joblib", "pandas", "numpy", "dvc", "dvclive")
EXTRAS = {"dask": ("distributed",), "s3": ("s3fs", "dvc-s3")}
NEEDED_FORMATS = {"OGG": "OGG Vorbis", "FLAC": "FLAC", "MP3": "MP3"}
LITTLE_DISK_GB = 10.0
DATA_SHOWN = 20  # files of the data set
NO_VIEW = "0" * 64  # digest of a view without parts, so listing is fast


@dataclass(frozen=True)
class Finding:
    """One line of the report; `hint` is the fix for a problem."""

    state: Literal["ok", "warn", "bad"]
    what: str
    hint: str = ""


def run(arguments: argparse.Namespace) -> None:
    """Print the findings; a CommandError if a problem keeps the pipeline from running."""
    loaded, validity = _loaded()
    pool = os.environ.get("BIRDCACHE_POOL") or (loaded.machine.pool if loaded else ".birdcache/pool")
    places = [*roots(loaded.data).values(), pool] if loaded else [pool]
    urls = [text for text in places if "://" in text]
    of_machine = (_python(), _open_files(), _packages(), _extras(loaded, urls), _codecs(), _device(loaded))
    of_project = (_disk(pool), _links(pool), _urls(urls, pool), _dvc(), _data(loaded), [validity], _members(loaded))
    findings = list(chain(*of_machine, *of_project))
    for finding in findings:
        print(f"{finding.state:<5} {finding.what}" + (f"\n      -> {finding.hint}" if finding.hint else ""))
    bad = sum(finding.state == "bad" for finding in findings)
    if bad:
        raise CommandError(f"{counted(bad, 'problems')} above must be fixed first")


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("ok" if supported else "bad", f"Python {version}", "" if supported else "use Python 3.11 to 3.13")


def _open_files() -> Iterator[Finding]:
    try:
        check_open_files()
    except CommandError as error:
        what, hint = str(error).split(": ", 1)
        yield Finding("bad", what, hint)


def _packages() -> Iterator[Finding]:
    found, missing = _versions(PACKAGES)
    yield Finding("ok", ", ".join(found))
    if missing:
        yield Finding("bad", f"missing: {', '.join(missing)}", "run `make setup`")


def _versions(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Installed packages with their versions, and missing ones."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return found, missing


def _loaded() -> tuple[Params | None, Finding]:
    """The parameters, if they are valid, and what to tell of that."""
    try:
        return params.load(), Finding("ok", "params.yaml is valid")
    except params.ParamsError as error:
        return None, Finding("bad", str(error), "correct these keys, or start again with `birdcache init`")


def _extras(loaded: Params | None, urls: Iterable[str]) -> Iterator[Finding]:
    """The extras that params.yaml and its URLs need."""
    needed = ["dask"] if loaded and loaded.machine.backend == "dask" else []
    needed += ["s3"] if any(url.startswith("s3://") for url in urls) else []
    for extra in needed:
        found, missing = _versions(EXTRAS[extra])
        if missing:
            yield Finding("bad", f"params.yaml needs {', '.join(missing)}", f'pip install "birdcache[{extra}]"')
        else:
            yield Finding("ok", f"{', '.join(found)} (extra {extra})")


def _codecs() -> Iterator[Finding]:
    import soundfile

    formats = soundfile.available_formats()
    missing = [name for key, name in NEEDED_FORMATS.items() if key not in formats]
    decoder = f"libsndfile {soundfile.__libsndfile_version__}"
    if missing:
        hint = "reinstall the soundfile wheel: `make setup`"
        yield Finding("bad", f"{decoder} cannot read {', '.join(missing)}", hint)
    else:
        yield Finding("ok", f"{decoder} reads {', '.join(NEEDED_FORMATS.values())}, WAV")


def _device(loaded: Params | None) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Finding("ok", f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, CUDA {torch.version.cuda}")
    elif Path("/dev/nvidiactl").exists():
        hint = "update the driver; see `nvidia-smi`"
        yield Finding("warn", "torch cannot use the NVIDIA driver of this machine", hint)
    elif loaded and loaded.machine.device == "cuda":
        yield Finding("bad", "machine.device = 'cuda', but no GPU can be used here", "set machine.device: auto, or cpu")
    else:
        yield Finding("ok", f"no GPU: training runs on {os.cpu_count()} CPU cores")


def _disk(pool: str) -> Iterator[Finding]:
    free_gb = shutil.disk_usage(Path()).free / 1e9
    little = free_gb < LITTLE_DISK_GB and "://" not in pool
    hint = "BirdCLEF 2025 needs about 18 GB per view in float16; set machine.pool or BIRDCACHE_POOL to a larger disk"
    yield Finding("warn" if little else "ok", f"{free_gb:,.0f} GB of disk space are free here", hint if little else "")


def _links(pool: str) -> Iterator[Finding]:
    """Try to make a hard link, as stores do for parts in a local pool."""
    if "://" in pool:
        return
    Path(pool).mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=pool) as source, tempfile.TemporaryDirectory(dir=".") as folder:
        try:
            os.link(source.name, Path(folder) / "link")
            yield Finding("ok", f"stores are hard links into the pool {pool}")
        except OSError:
            hint = "set machine.pool to a folder on the project's disk for hard links"
            yield Finding("warn", f"the pool {pool} is on another disk: stores use symbolic links", hint)


def _urls(urls: Iterable[str], pool: str) -> Iterator[Finding]:
    """Try to read all configured URLs with this machine's credentials."""
    for url in urls:
        try:
            where = place(url)
            if url == pool:
                open_pool(where, NO_VIEW).parts()
            else:
                with reaching(where):
                    if not where.is_dir():
                        raise StoreError(f"{url}: no such folder; correct data.root or data.sources in params.yaml")
            yield Finding("ok", f"{url} can be read")
        except StoreError as error:
            yield Finding("bad", str(error), "see docs/cluster.md")


def _dvc() -> Iterator[Finding]:
    if not Path(".dvc").is_dir():
        yield Finding("bad", "no DVC project here", "run birdcache in a checkout, or run `dvc init`")
        return
    asked = [sys.executable, "-m", "dvc", "config", "cache.type"]
    link_type = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    kind = link_type or "the default (reflink, else copy)"
    yield Finding("ok", f"DVC project; cache.type is {kind}; stores are not in its cache")
    from commands.project.repository import git_refusal, git_trouble

    if trouble := git_trouble():
        what, _, hint = trouble.partition(": ")
        yield Finding("bad", what, hint)
    if refusal := git_refusal():
        yield Finding("warn", refusal, f"run `git config --global --add safe.directory {Path.cwd()}`")
    if not Path("dvc.yaml").is_file():
        yield Finding("bad", "dvc.yaml is missing", "restore it with `git checkout dvc.yaml`")


def _data(loaded: Params | None) -> Iterator[Finding]:
    """What DVC cannot hash in the data set."""
    folders = data_folders(loaded.data) if loaded else []
    for entry in islice(chain.from_iterable(map(unhashable, folders)), DATA_SHOWN):
        yield Finding("bad", f"DVC cannot hash {printable(str(entry.path))}: {entry.why}", entry.hint)


def _members(loaded: Params | None) -> Iterator[Finding]:
    """Try the views and members, as stage `check` does."""
    from commands.project.check import tried

    if loaded is None:
        return
    remarks, problems = tried(loaded)
    yield from (Finding("bad", problem, "correct it in params.yaml") for problem in problems)
    yield from (Finding("ok", remark) for remark in remarks)
    if not problems:
        yield Finding("ok", f"all members can be built: {', '.join(loaded.members)}")
