"""The `birdcache` command. Commands of a checkout are imported by name, and only when they are called."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import birdcache
from birdcache.errors import report_problems


@dataclass(frozen=True)
class Command:
    """A command: the module whose `run` it is, one line of help, and what adds its arguments."""

    module: str
    help: str
    add: Callable[[argparse.ArgumentParser], None] = lambda _: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command; a user's mistake ends with a message and status 1."""
    chosen = build_parser().parse_args(arguments)
    try:
        report_problems(lambda: run(chosen))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; nothing more may be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(chosen: argparse.Namespace) -> None:
    """Import the command's module, which may take seconds, and run it; a BirdcacheError if it needs a checkout."""
    if chosen.command in ANYWHERE:
        importlib.import_module(ANYWHERE[chosen.command].module).run(chosen)
        return
    from birdcache.checkout import project_module

    project_module(IN_CHECKOUT[chosen.command].module, f"birdcache {chosen.command}").run(chosen)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="birdcache",
        usage="birdcache [-h] [--version] COMMAND ...",
        description="Decode once, train fast.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"anywhere:\n{_listed(ANYWHERE)}\n\nin a checkout of the project (after `make setup`):\n"
        f"{_listed(IN_CHECKOUT)}\n\nOptions of a command: birdcache COMMAND --help",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(
        prog="birdcache", dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )
    for name, command in (ANYWHERE | IN_CHECKOUT).items():
        command.add(commands.add_parser(name, description=command.help))
    return parser


class _Version(argparse.Action):
    """Prints the version, which is looked up only for that."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"birdcache {birdcache.__version__}")
        parser.exit()


def _listed(commands: dict[str, Command]) -> str:
    return "\n".join(f"  {name:<9}{command.help}" for name, command in commands.items())


def _add_init(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--demo", action="store_true", help="the built-in synthetic dawn chorus")
    source.add_argument(
        "--birdclef", metavar="ROOT", type=Path, help="any year's BirdCLEF, or train.csv and train_audio/"
    )
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
    parser.add_argument("--ensemble", action="store_true", help="three members that differ, instead of one")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="STORE", help="such as data/cache/mel.zarr")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "store", nargs="?", metavar="STORE", help="a store's folder or a view's name, default: all stores"
    )
    parser.add_argument(
        "--full", action="store_true", help="compare the SHA-256 of large files too, not only their chunks' CRC-32C"
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    gc = actions.add_parser("gc", help="free the parts that no store needs, after asking")
    gc.add_argument("--yes", action="store_true", help="free without asking")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    given = actions.add_parser("import", help="make a file of weights one that members can name in `pretrained`")
    given.add_argument("file", type=Path, metavar="FILE", help=".safetensors, .pt, .pth, .ckpt, .bin ...")
    given.add_argument("--backbone", required=True, metavar="NAME", help="timm model that the weights are of")
    given.add_argument("--out", type=Path, metavar="FILE", help="default: weights/<backbone>.safetensors")
    given.add_argument("--source", default="not stated", metavar="TEXT", help="where the weights are from")
    given.add_argument("--licence", default="not stated", metavar="TEXT", help="licence of the weights")


def _add_page(parser: argparse.ArgumentParser) -> None:
    _add_runtime(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("site"), metavar="DIR", help="folder of the page; default: site"
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_runtime(parser)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any that is free")


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="BUNDLE", help="such as bundles/birds.bundle")
    parser.add_argument(
        "--runtime", type=Path, metavar="FILE", help="onnxruntime-web as `npm pack` gives it; default: in your cache"
    )
    parser.add_argument("--fetch", action="store_true", help="let npm fetch it into your cache, if it is not there")


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    """The type of an argument that is a number within bounds."""

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
        help="folder of the results, in which an interrupted run is continued; default: detections",
    )
    parser.add_argument(
        "--format", default="csv", metavar="NAMES", help="csv, raven, audacity, kaggle, or several between commas"
    )
    parser.add_argument(
        "--sample", type=Path, metavar="CSV", help="sample_submission.csv for kaggle; default: that of the models' data"
    )
    parser.add_argument(
        "--threshold", type=_number(0, 1), metavar="SCORE", help="lowest score of a detection; default: each class's"
    )
    parser.add_argument(
        "--window",
        type=_number(0.1, 3600),
        metavar="SECONDS",
        help="length of a detection; default: the ensemble's, or 5",
    )
    parser.add_argument(
        "--ensemble",
        type=Path,
        metavar="JSON",
        help="how trained models are blended; default: their data/ensemble.json",
    )
    parser.add_argument(
        "--species", type=Path, metavar="FILE", help="species of the place, by week or month if wanted: others score 0"
    )
    parser.add_argument(
        "--species-weight", type=_number(0, 1), default=1.0, metavar="SHARE", help="weight of --species; default: 1"
    )
    parser.add_argument("--embeddings", type=Path, metavar="ZARR", help="also write features of each window there")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("member", metavar="MEMBER", help="a member of params.yaml")
    parser.add_argument("--fold", type=int, metavar="N", help="fold to leave out, default: the first of folds.train")
    parser.add_argument("--epoch", type=int, default=1, metavar="N", help="epoch whose first batch is shown, default 1")
    parser.add_argument("--clips", type=int, default=6, metavar="N", help="how many clips, default 6")


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("member", metavar="MEMBER", help="a member of params.yaml")
    parser.add_argument("--fold", type=int, metavar="N", help="fold to leave out and measure on, default: tune.fold")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all, default: tune.trials")


ANYWHERE = {
    "predict": Command(
        "birdcache.predict.command",
        "detections in any audio files, as CSV, Raven, Audacity or Kaggle files",
        _add_predict,
    ),
    "page": Command(
        "birdcache.page.build",
        "a static web page that scores dropped recordings by a bundle, in the browser",
        _add_page,
    ),
    "serve": Command("birdcache.page.server", "the same page on a port of this machine, until Ctrl-C", _add_serve),
}
IN_CHECKOUT = {
    "init": Command("commands.project.init", "write a params.yaml for your data", _add_init),
    "plan": Command("commands.plan.command", "what `dvc repro` would run, why, and what decoding would cost"),
    "info": Command(
        "commands.store.info", "contents of a store, and whether its bytes are as they were written", _add_info
    ),
    "verify": Command(
        "commands.store.verify", "find corrupted recordings in stores, and how to repair them", _add_verify
    ),
    "cache": Command("commands.store.cache", "the pool of finished spectrograms", _add_cache),
    "weights": Command("commands.project.weights", "members' first weights, from files of any project", _add_weights),
    "batch": Command(
        "commands.inspect.batch", "a picture of clips, as stored and as a member's model sees them", _add_batch
    ),
    "ladder": Command("commands.project.ladder", "measure what each rung and each technique of training gains"),
    "tune": Command("commands.tune.command", "search better values of a recipe's keys for a member", _add_tune),
    "report": Command("commands.report.command", "metrics of the last run, and where its results are"),
    "doctor": Command(
        "commands.project.doctor", "check Python, codecs, GPU, disk and DVC, and say how to fix what is wrong"
    ),
}

if __name__ == "__main__":
    main()
