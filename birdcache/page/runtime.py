"""onnxruntime-web, in which the page runs a bundle's graph: found, fetched by the user's own npm, and checked."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from birdcache.errors import CommandError
from birdcache.files import write_durably

PACKAGE = "onnxruntime-web@1.24.3"
TARBALL = f"{PACKAGE.replace('@', '-')}.tgz"
SHA512 = (
    "e35743abb7f1b539b45f3184ecdd1dea6f0570e63c116b5403ae4690e8b124f0"
    "7f1bb0c6cc19a20c09d55571f39d1c3d6e0519a5bfb8ff59502bf3cdc46a5bad"
)
NEEDED = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # of 400 files: the CPU's alone, without WebGPU


def runtime_files(given: Path | None, fetch: bool) -> dict[str, bytes]:
    """The files of onnxruntime-web that the page needs, by name.

    A CommandError if there is no tarball, npm cannot fetch it, or its bytes are not those that are expected.

    Parameters
    ----------
    given : the tarball of `npm pack`; None = the one in the user's cache.
    fetch : whether npm may fetch it into the cache if it is not there.
    """
    path = given or cached_tarball()
    is_fetched = fetch and given is None and not path.exists()
    content = _fetched(path) if is_fetched else _content(path)
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        members = [archive.extractfile(f"package/dist/{name}") for name in NEEDED]
        return {name: member.read() for name, member in zip(NEEDED, members, strict=True) if member is not None}


def cached_tarball() -> Path:
    """The place of the tarball in the user's cache folder."""
    usual = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}.get(sys.platform) or "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or usual).expanduser() / "birdcache" / TARBALL


def _content(path: Path) -> bytes:
    """A tarball's bytes, whose digest is right."""
    if not path.is_file():
        raise CommandError(
            f"{path}: there is no such file, and the page needs it to run the bundle: add --fetch, and npm fetches it "
            f"(30 MB); or run `npm pack {PACKAGE}` where there is a network, and name the file with --runtime {TARBALL}"
        )
    content = path.read_bytes()
    if (digest := hashlib.sha512(content).hexdigest()) != SHA512:
        raise CommandError(
            f"{path}: is not what npm gives as {PACKAGE}: its SHA-512 is {digest[:16]}..., not {SHA512[:16]}...; "
            f"remove it and run `npm pack {PACKAGE}` again"
        )
    return content


def _fetched(path: Path) -> bytes:
    """The tarball's bytes, which the user's npm brings into the cache."""
    npm = shutil.which("npm")
    if npm is None:
        raise CommandError(
            f"--fetch: npm is not installed; install Node.js, or run `npm pack {PACKAGE}` on another machine and name "
            f"the file with --runtime {TARBALL}"
        )
    print(f"npm pack {PACKAGE}", flush=True)
    with tempfile.TemporaryDirectory(prefix="birdcache-") as folder:
        command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = " ".join(done.stderr.split())[-300:]
            raise CommandError(f"--fetch: `npm pack {PACKAGE}` fails ({reason}); see whether there is a network")
        content = _content(Path(folder) / TARBALL)
    write_durably(path, content)
    return content
