"""`birdcache completion`: a script that makes a shell complete commands, options and files."""

import argparse
from pathlib import Path

from birdcache.cli import build_parser
from birdcache.errors import CommandError


def run(arguments: argparse.Namespace) -> None:
    """Print the script; a CommandError if what writes it is not installed."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise CommandError("completion needs shtab, which is not installed: pip install shtab") from error
    parser = build_parser()
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    commands.help = None  # shtab passes over what `birdcache --help` does not list twice
    for action in [action for command in commands.choices.values() for action in command._actions]:
        if action.type is Path:
            action.complete = shtab.FILE
    print(shtab.complete(parser, arguments.shell))
