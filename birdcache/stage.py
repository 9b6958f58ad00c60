"""Which of several stages runs: a view, a member and fold, a data set of the demo.

DVC tells it in an environment variable. In a command line, a shell would read names that a stranger may have chosen.
"""

import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from birdcache.errors import BirdcacheError
from birdcache.process import DVC_STAGE

KEY = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)*")


def stage_key(example: str) -> str:
    """Part of the stage's name behind its `@`, such as `mel` of `spectrograms@mel`; by hand it is the one argument.

    A BirdcacheError if there is none, or it is not made of lower-case letters, digits and underscores, with hyphens
    between them: it becomes part of paths.

    Parameters
    ----------
    example : a key, for the error.
    """
    given = sys.argv[1:] or [os.environ.get(DVC_STAGE, "").partition("@")[2]]
    if len(given) == 1 and KEY.fullmatch(given[0]):
        return given[0]
    raise BirdcacheError(
        f"{' '.join(given)!r}: names no stage; run `dvc repro`, or give this command one name such as {example}, "
        "made of lower-case letters, digits and underscores"
    )


def clear(*folders: Path) -> None:
    """Remove what an earlier run of this stage left.

    Outs of stages with a name in them are `persist: true`: DVC would remove them before the name is checked.
    """
    for folder in folders:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
