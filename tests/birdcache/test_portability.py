"""A bundle runs where Python lacks everything that only Unix has, as on Windows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT

# run at the start of each Python, the decoder's too
WITHOUT_UNIX = """
import os, select, signal, subprocess, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
subprocess.Popen.kill = subprocess.Popen.terminate
del select.poll, os.readv, os.fork, signal.SIGKILL, signal.SIGHUP
"""
EVERYTHING = """
import importlib, pkgutil, sys
import birdcache
for module in pkgutil.walk_packages(birdcache.__path__, "birdcache."):
    importlib.import_module(module.name)
bundle = birdcache.load(sys.argv[1])
print([len(bundle.predict(path).scores) for path in sys.argv[2:]])
"""
COMMAND = "import sys; from birdcache import cli; cli.main(sys.argv[1:])"


def run(site: Path, code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    (site / "sitecustomize.py").write_text(WITHOUT_UNIX)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_everything_is_imported_and_a_bundle_predicts_without_a_limit_of_memory_and_says_so_once(
    exported: Exported, tmp_path: Path
) -> None:
    dawn = exported.root / "chorus/test_soundscapes/dawn.ogg"
    done = run(tmp_path, EVERYTHING, exported.bundle, dawn, dawn)
    assert (done.returncode, done.stdout) == (0, "[4, 4]\n"), done.stderr
    assert done.stderr == (
        "warning: this system cannot limit the memory of the process that decodes; a broken file may take all of it\n"
    )


def test_the_command_predicts_and_refuses_what_is_no_audio(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "bad.ogg").write_text("no audio")
    paths = (exported.root / "chorus/test_soundscapes", tmp_path / "bad.ogg")
    out = tmp_path / "found"
    done = run(tmp_path, COMMAND, "predict", *paths, "--model", exported.bundle, "--out", out)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"1 of 2 files could not be scored ({out}/refused.csv); results of the others are in {out}\n"
    )
    assert (out / "detections.csv").is_file()
