"""A bundle of the tiny project, made once by the stage itself."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from birdcache.params import load as params
from commands.export import __main__ as stage
from tests.conftest import TinyProject
from tests.recorded import RecordedParams


@dataclass(frozen=True)
class Exported:
    """A project with its bundle, and which keys of params.yaml the stage read."""

    root: Path
    bundle: Path
    reads: set[str]


@pytest.fixture(scope="session")
def exported(tiny_project: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Tests must not change it; copy it first."""
    root = tmp_path_factory.mktemp("exported") / "project"
    shutil.copytree(tiny_project.root, root)
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        os.chdir(root)
        recorded = RecordedParams(params.load())
        patch.setattr(params, "load", lambda: recorded)
        stage.main()
        os.chdir(before)
    return Exported(root, root / "bundles/birds.bundle", recorded.reads)
