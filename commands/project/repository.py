"""The git repository that DVC and DVCLive need, or the decision to do without one."""

import shutil
import subprocess
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import NoSCM, SCMError

COMMIT = "git add --all && git commit -m start"


def git_trouble() -> str | None:
    """What about git would end `dvc repro`, and the way out; None if nothing would."""
    begin = f"{'' if shutil.which('git') else 'install git, then '}run `"
    try:
        with Repo(str(Path.cwd())) as repo:
            if isinstance(repo.scm, NoSCM) or not repo.scm.no_commits:
                return None
            return f"the git repository has no commit yet, which DVC's log of trainings needs: {begin}{COMMIT}`"
    except SCMError:
        return (
            "this folder is no git repository (a downloaded ZIP is none), which DVC needs: "
            f"{begin}git init && {COMMIT}`, or do without git by `dvc config core.no_scm true`"
        )
    except DvcException:
        return None  # no DVC project, or a broken one: told elsewhere


def git_refusal() -> str | None:
    """Git's own words, if it refuses a repository that belongs to somebody else."""
    if shutil.which("git") is None:
        return None
    told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stderr
    return told.splitlines()[0] if "safe.directory" in told else None
