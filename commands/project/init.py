"""`birdcache init`: params.yaml for the demo, for BirdCLEF's layout, for one folder per class, or for annotations."""

import argparse
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from birdcache.errors import CommandError
from birdcache.files import write_text
from birdcache.params import load as params
from birdcache.params.model import Params
from birdcache.params.yaml_file import parse_yaml
from birdcache.text import counted
from commands.project.data_facts import BACKGROUND, DataFacts, annotation_facts, birdclef_facts, folder_facts
from commands.project.fitted_params import fitted_params
from commands.project.hashable import check_hashable
from commands.project.repository import git_trouble

PATH = params.DEFAULT_PATH
BACKUP = PATH.with_name(f"{PATH.name}.bak")


def run(arguments: argparse.Namespace) -> None:
    """Write params.yaml; an existing one is kept as params.yaml.bak.

    A CommandError if the folder does not hold what its layout needs, or holds what DVC cannot hash, the demo's
    parameters are nowhere to be found, or the backbone or its weights are none. A ParamsError if the new file breaks a
    rule.
    """
    check_hashable(*filter(None, (arguments.birdclef, arguments.folders, arguments.annotations)))
    if arguments.demo:
        write_params(demo_params(chain(committed(), saved())))
    else:
        facts = _facts(arguments)
        if len(facts.per_class) == 1:
            print(
                "WARNING: all recordings have one label, which cannot be told from anything: add recordings without it "
                f"under the label {BACKGROUND}, or annotate times and set loss.kind: bce"
            )
        content = demo_params(chain(saved(), committed()))
        write_params(fitted_params(content, facts, arguments.backbone, arguments.pretrained, arguments.ensemble))
        tell_choice(params.load(), facts)
    print(git_trouble() or "next: dvc repro")


def tell_choice(chosen: Params, facts: DataFacts) -> None:
    """Check the members, and print what was chosen, why, and what it costs.

    A CommandError if a network or its weights are none.
    """
    from commands.project.check import check_params  # torch, only for other data than the demo
    from commands.project.step_cost import cost_lines

    check_params(chosen)
    base = chosen.members["base"]
    weights = f"weights {base.pretrained}" if isinstance(base.pretrained, str) else "timm's weights"
    if not base.pretrained:
        weights = "random weights, since none are in weights/ (docs/data.md#pretrained-weights)"
    print(
        f"chosen: {counted(len(chosen.members), 'members')}, {base.backbone} with {weights}, so recipe {base.recipe}; "
        f"{counted(facts.recordings, 'recordings')} of {counted(len(facts.per_class), 'classes')}, "
        + ("each drawn once an epoch" if facts.balanced else "those of rare classes drawn more often")
    )
    print("\n".join(cost_lines(chosen, facts.recordings)))


def _facts(arguments: argparse.Namespace) -> DataFacts:
    if arguments.birdclef:
        return birdclef_facts(arguments.birdclef)
    return folder_facts(arguments.folders) if arguments.folders else annotation_facts(arguments.annotations)


def demo_params(versions: Iterator[str]) -> str:
    """The first version of params.yaml that makes synthetic data: all of its sections are filled in.

    A CommandError if none does.
    """
    for content in versions:
        with suppress(ValueError):
            raw = parse_yaml(content)
            if isinstance(raw, dict) and raw.get("demo"):
                return content
    raise CommandError(
        f"{PATH}: `birdcache init` starts from the demo's parameters, but neither this folder nor its "
        "git history holds them; copy params.yaml from a new clone of birdcache, then run this again"
    )


def saved() -> Iterator[str]:
    """params.yaml as it is now, then as it was before the last `init`."""
    for each in (PATH, BACKUP):
        if each.is_file():
            yield each.read_text(encoding="utf-8", errors="replace")


def committed() -> Iterator[str]:
    """params.yaml as git has it, newest version first; nothing without git."""
    for commit in _git("log", "--format=%H", "--", str(PATH)).split():
        yield _git("show", f"{commit}:./{PATH.as_posix()}")


def _git(*arguments: str) -> str:
    """Standard output, empty if git is missing or fails, as outside of a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def write_params(content: str) -> None:
    """Write params.yaml; keep a different one as params.yaml.bak."""
    if PATH.exists() and PATH.read_bytes() != content.encode():
        PATH.replace(BACKUP)
        print(f"kept the old {PATH} as {BACKUP}")
    write_text(PATH, content)
    print(f"wrote {PATH}")
