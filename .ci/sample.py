"""`sample.py FOLDER` makes what `try_wheel.py` needs elsewhere: a wheel, a bundle, a recording and its scores."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Train the tiny project of the tests, export it, and fill the folder."""
    from tests.conftest import run_all_stages
    from tests.fixtures.stages import run_stage

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        project.mkdir()
        run_all_stages(project)
        with contextlib.chdir(project):
            run_stage("commands.export.__main__")
        fill(Path(sys.argv[1]).resolve(), project)


def fill(sample: Path, project: Path) -> None:
    """Put a wheel, the project's bundle, one of its recordings and what the bundle detects in it into a folder."""
    from tests.birdcache.test_wheel import build_wheel

    shutil.copytree(project / "bundles/birds.bundle", sample / "birds.bundle", dirs_exist_ok=True)
    shutil.copy(project / "chorus/test_soundscapes/dawn.ogg", sample / "dawn.ogg")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(build_wheel(Path(folder)), sample)
    command = [sys.executable, "-m", "birdcache.cli", "predict", "dawn.ogg", "--model", "birds.bundle"]
    subprocess.run([*command, "--threshold", "0", "--out", "wanted"], cwd=sample, check=True)


if __name__ == "__main__":
    main()
