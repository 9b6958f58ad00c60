"""The `birdcache` command. With `commands/` the only place that composes both sides, pipeline and train."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from birdcache.errors import report_problems

COMMANDS = {  # which module runs each of them
    "init": "commands.project.init",
    "plan": "commands.plan.command",
    "info": "commands.store.info",
    "verify": "commands.store.verify",
    "cache": "commands.store.cache",
    "predict": "birdcache.predict.command",
    "serve": "birdcache.serve.server",
    "lr-find": "commands.inspect.lr_find",
    "batch": "commands.inspect.batch",
    "ladder": "commands.project.ladder",
    "tune": "commands.tune.command",
    "report": "commands.report.command",
    "doctor": "commands.project.doctor",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command; a user's mistake ends with a message and status 1."""
    chosen = build_parser().parse_args(arguments)
    # torch is slow to import: only when needed
    command = importlib.import_module(COMMANDS[chosen.command])
    try:
        report_problems(lambda: command.run(chosen))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has had enough; nothing more may be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="birdcache", description="Decode once, train fast.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_init(commands.add_parser("init", help="write a params.yaml for your data"))
    _add_plan(commands.add_parser("plan", help="what `dvc repro` would run, why, and what decoding would cost"))
    _add_info(commands.add_parser("info", help="what a store holds, and whether its bytes are as they were sealed"))
    _add_verify(
        commands.add_parser("verify", help="look for damage in stores; say which recordings, and what mends it")
    )
    _add_cache(commands.add_parser("cache", help="the pool of finished spectrograms"))
    _add_predict(
        commands.add_parser("predict", help="any audio files -> detections as CSV, Raven, Audacity or Kaggle files")
    )
    _add_serve(commands.add_parser("serve", help="a page in the browser: drop a recording, see and hear what is in it"))
    _add_lr_find(commands.add_parser("lr-find", help="try learning rates on a member: a picture and a suggestion"))
    _add_batch(commands.add_parser("batch", help="a picture of clips, as stored and as a member's model sees them"))
    commands.add_parser("ladder", help="measure rung by rung, and technique by technique, what training gains")
    _add_tune(commands.add_parser("tune", help="search better values of a recipe's keys for a member"))
    commands.add_parser("report", help="metrics of the last run, and where its results lie")
    commands.add_parser("doctor", help="check Python, codecs, GPU, disk and DVC; say what is wrong and how to mend it")
    return parser


def _add_init(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--demo", action="store_true", help="the built-in synthetic dawn chorus")
    source.add_argument("--birdclef", metavar="ROOT", type=Path, help="folder with train.csv and train_audio/")
    source.add_argument("--folders", metavar="ROOT", type=Path, help="folder with one folder of recordings per class")
    source.add_argument(
        "--annotations", metavar="ROOT", type=Path, help="folder of recordings that the tables in annotations/ name"
    )
    parser.add_argument("--backbone", metavar="NAME", help="timm model; default: by the size of the data")
    parser.add_argument(
        "--pretrained",
        metavar="WHAT",
        help="false, true (timm downloads) or a .safetensors file; default: <backbone>.safetensors in weights/ "
        "here, in ROOT or in the two folders above it, else false",
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the same facts there")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="STORE", help="such as data/cache/mel.zarr")
    parser.add_argument("--verify", action="store_true", help="compare every byte with its checksum")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "store", nargs="?", metavar="STORE", help="a store's folder or a view's name, default: all stores"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="compare the SHA-256 of large files too, not only their chunks' CRC-32C",
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    gc = actions.add_parser("gc", help="free the parts that no store needs; says how much first, and asks")
    gc.add_argument("--yes", action="store_true", help="free without asking")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="BUNDLE", help="a bundle, or a folder of trained models")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; default: 127.0.0.1, which no other machine reaches"
    )
    parser.add_argument("--max-mb", type=int, default=500, metavar="MB", help="largest recording; default: 500")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    parser.set_defaults(ensemble=None, window=None, threshold=None)


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    """A type of argument: a number within bounds."""

    def read(text: str) -> float:
        with suppress(ValueError):
            if lowest <= float(text) <= highest:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text}: must be a number from {lowest:g} to {highest:g}")

    return read


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="audio files or folders of them")
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        metavar="DIR",
        help="a bundle, such as bundles/birds.bundle, or a folder of models: models, models/base, models/base/0",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("detections"),
        metavar="DIR",
        help="where results are written; the same folder again goes on where a run was ended; default: detections",
    )
    parser.add_argument(
        "--format",
        default="csv",
        metavar="NAMES",
        help="csv, raven, audacity or kaggle, or several between commas; default: csv",
    )
    parser.add_argument(
        "--threshold",
        type=_number(0, 1),
        metavar="SCORE",
        help="lowest score that is written, default: that of each class",
    )
    parser.add_argument(
        "--window",
        type=_number(0.1, 3600),
        metavar="SECONDS",
        help="length of a detection, default: that of the ensemble, or 5",
    )
    parser.add_argument(
        "--ensemble",
        type=Path,
        metavar="JSON",
        help="how trained models are blended and what follows, default: data/ensemble.json of their project",
    )
    parser.add_argument("--embeddings", type=Path, metavar="ZARR", help="also write the features of each window there")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _add_lr_find(parser: argparse.ArgumentParser) -> None:
    _add_split(parser)
    parser.add_argument("--lowest", type=float, default=1e-6, metavar="RATE", help="first learning rate, default 1e-6")
    parser.add_argument("--highest", type=float, default=1.0, metavar="RATE", help="last learning rate, default 1")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="steps from one to the other, default 100")


def _add_batch(parser: argparse.ArgumentParser) -> None:
    _add_split(parser)
    parser.add_argument("--epoch", type=int, default=1, metavar="N", help="whose first batch, default 1")
    parser.add_argument("--clips", type=int, default=6, metavar="N", help="how many clips, default 6")


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("member", metavar="MEMBER", help="a member of params.yaml")
    parser.add_argument("--fold", type=int, metavar="N", help="fold to leave out and measure on, default: tune.fold")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all, default: tune.trials")


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("member", metavar="MEMBER", help="a member of params.yaml")
    parser.add_argument("--fold", type=int, metavar="N", help="fold to leave out, default: the first of folds.train")


if __name__ == "__main__":
    main()
