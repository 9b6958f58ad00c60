"""Stage `source`: a digest of what lies below the root of one of `data.sources`; DVC runs it when that has changed.

Stage `recordings` depends on all digests: dvc.yaml can name the roots for a stage each, but not all of them for one.
"""

from pathlib import Path

from birdcache.errors import run_stage
from birdcache.files import sha256_hex, write_text
from birdcache.params import load as params
from birdcache.stage import stage_key
from birdcache.storage import reaching, remote

FOLDER = Path("data/sources")


def main() -> None:
    """Write data/sources/<name>.txt: SHA-256 of all that is known of the files but their contents."""
    name = stage_key("noise")
    root = remote(params.load().data.sources[name].root)  # whatever it is: a disk answers like a bucket
    with reaching(root):
        facts = sorted(root.fs.find(root.path, detail=True).items())
    write_text(FOLDER / f"{name}.txt", sha256_hex(repr(facts).encode()) + "\n")


if __name__ == "__main__":
    run_stage(main)
