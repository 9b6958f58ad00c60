"""Every process that computes with torch is prepared for it before torch is loaded, and a user's own settings stay."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from birdcache.process import SHORT_WAIT, WAITS
from tests.fixtures.tiny import ROOT

FIRST_IMPORTS = """
import importlib, json, os, sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "torch":
            raise LookupError(os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, NoTorch())
seen = {}
for entry in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] in ("train", "commands")]:
        del sys.modules[name]
    os.environ.pop("GOMP_SPINCOUNT", None)
    os.environ.pop("KMP_BLOCKTIME", None)
    try:
        importlib.import_module(entry)
    except LookupError as found:
        seen[entry] = found.args[0]
print(json.dumps(seen))
"""
PAGE_FAULTS = """
import ctypes, resource, sys
if "prepared" in sys.argv: import train
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
for step in range(9):
    if step == 1: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for size in (2**26, 2**22)]
    for block in blocks: ctypes.memset(block, 1, 2**22); libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def python(script: str, *arguments: str, **environment: str) -> str:
    """What a new process without settings of its own prints."""
    own = re.compile("|".join([*WAITS, "MALLOC_.*", "GLIBC_TUNABLES"]))  # Dask sets one of them where it starts workers
    kept = {name: value for name, value in os.environ.items() if not own.fullmatch(name)}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def test_threads_know_how_long_to_wait_before_any_entry_imports_torch() -> None:
    entries = ["train.fit", "train.predict", "train.loop.distributed", "commands.export.__main__"]
    entries += ["commands.predict.trained", "commands.report.augmentations", "commands.inspect.batch"]
    seen = json.loads(python(FIRST_IMPORTS, *entries))
    assert seen == dict.fromkeys(entries, SHORT_WAIT["GOMP_SPINCOUNT"])


@pytest.mark.parametrize("name", sorted(WAITS))
def test_what_a_user_says_of_waiting_stays_and_nothing_is_added(name: str) -> None:
    script = "import json, os, train; print(json.dumps(dict(os.environ)))"
    after = json.loads(python(script, **{name: "7"}))
    assert {each: after[each] for each in WAITS & after.keys()} == {name: "7"}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is looked at by its page faults")
def test_memory_of_a_step_is_kept_for_the_next_one_but_for_a_user_who_tunes_malloc() -> None:
    kept, given_back = int(python(PAGE_FAULTS, "prepared")), int(python(PAGE_FAULTS))
    assert kept < 0.05 * given_back
    assert int(python(PAGE_FAULTS, "prepared", MALLOC_ARENA_TEST_="8")) > 0.5 * given_back
