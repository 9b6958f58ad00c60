"""Every command of README.md and docs/*.md works: run in a small finished project, or checked where it cannot run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.docs.blocks import HOW, NOT_COMMANDS, SHELL, Block, Mention, all_blocks, all_mentions, blocks_of
from tests.docs.checked import WrongCommandError, check
from tests.docs.conftest import SLOW, run

BLOCKS = all_blocks()
COMMANDS = [block for block in BLOCKS if block.language in SHELL]
RUN = [block for block in BLOCKS if block.language in {*SHELL, "python"} and (block.how != "slow" or SLOW)]


@pytest.mark.parametrize("block", [block for block in RUN if block.how != "no"], ids=str)
def test_a_block_runs(block: Block, documented: Path, tmp_path: Path) -> None:
    root = documented
    if block.how in ("copy", "slow"):
        root = tmp_path / "birdcache"
        shutil.copytree(documented, root, symlinks=True)
    (root.parent / "block.py").write_text(block.text)
    run(root, block.commands if block.language in SHELL else "python ../block.py")


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_the_commands_of_a_block_are_known_with_their_arguments(block: Block) -> None:
    check(block.commands)


@pytest.mark.parametrize("mention", all_mentions(), ids=str)
def test_a_command_in_running_text_is_known_with_its_arguments(mention: Mention) -> None:
    check(mention.text, partly=True)


def test_every_block_says_its_language_and_a_known_way_to_be_tried() -> None:
    for block in BLOCKS:
        assert block.language in SHELL | NOT_COMMANDS, f"{block}: name the language: sh for commands, text for output"
        assert block.how in HOW, f"{block}: `run: {block.how}` is none of {HOW}"
        assert bool(block.why) == (block.how == "no"), f"{block}: `run: no: WHY` needs its reason, others have none"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_a_block_of_yaml_can_be_read(block: Block) -> None:
    assert isinstance(YAML(typ="safe", pure=True).load(block.text), dict)


# the checks themselves
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("birdcache predikt x.ogg", "invalid choice"),
        ("birdcache predict x.ogg --modell models", "required"),
        ("birdcache predict x.ogg --model models --treshold 0.5", "unrecognized arguments"),
        ("birdcache predict x.ogg --model models --thresh 0.5", "unrecognized arguments"),
        ("dvc reprro", "invalid choice"),
        ("dvc repro trian@base-0", "has no such stage"),
        ("dvc exp run -S train.baseline.epoch=20", "no key train.baseline.epoch"),
        ("dvc exp run -S ++members.base.override.optimizer.lr=0.1", "no key members.base.override.optimizer.lr"),
        ("python -m benchmarks.readd", "no module"),
        ("python -m benchmarks.gpu --minutes 3", "no --minutes"),
        ("make demonstration", "no target"),
        ("taskset -c 1 birdcache laddder", "invalid choice"),
        ("dask worker tcp://HOST:8786 --threads 1", "no --threads"),
        ('pip install -e ".[dask,s4]"', "no extra s4"),
        ("cp docs/esc11.params.yaml params.yaml", "there is no docs/esc11.params.yaml"),
        ("cd large && birdcahe plan", "does not know birdcahe"),
        ("curl https://example.org", "does not know curl"),
    ],
)
def test_a_wrong_command_is_found(command: str, complaint: str) -> None:
    with pytest.raises(WrongCommandError, match=complaint):
        check(command)


def test_a_text_may_name_a_command_without_its_arguments() -> None:
    check("birdcache predict", partly=True)
    with pytest.raises(WrongCommandError, match="required"):
        check("birdcache predict")
    with pytest.raises(WrongCommandError, match="there is no --modell"):
        check("birdcache predict --modell", partly=True)


def test_a_comment_counts_for_the_block_right_below_it_only() -> None:
    page = "<!-- run: no: a bucket -->\n\n```sh\n```\n\n```sh\n```\n<!-- run: slow -->\ntext\n```sh\n```\n"
    found = [(block.line, block.how, block.why) for block in blocks_of("page", page)]
    assert found == [(3, "no", "a bucket"), (6, "", ""), (10, "", "")]


def test_of_a_transcript_only_what_was_typed_is_run() -> None:
    (block,) = blocks_of("page", "```console\n$ birdcache plan\nup to date  folds\n$ dvc repro\n```\n")
    assert block.commands == "birdcache plan\ndvc repro"
