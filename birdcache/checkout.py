"""The checkout around this package, if there is one: its version, and the commands that only work there."""

import importlib
import importlib.metadata
import sys
import tomllib
from pathlib import Path
from types import ModuleType

from birdcache.errors import CommandError

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"


def version() -> str:
    """The version that pyproject.toml names, also where it was installed from there."""
    if PROJECT.is_file():
        return str(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"])
    return importlib.metadata.version("birdcache")


def project_module(name: str, user: str) -> ModuleType:
    """Import a module of the checkout, such as `commands.plan.command`.

    A CommandError if this package lies in no checkout, or the checkout's requirements are not installed.

    Parameters
    ----------
    user : the command or option that needs it, for the message.
    """
    if not ((ROOT / "dvc.yaml").is_file() and (ROOT / name.partition(".")[0]).is_dir()):
        raise CommandError(
            f"{user} works inside a checkout of the project: git clone it, run `make setup` there, and call its "
            ".venv/bin/birdcache"
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise CommandError(f"{user} needs {error.name}, which is not installed; run `make setup` in {ROOT}") from error
