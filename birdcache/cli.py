"""The `birdcache` command. Commands of a checkout are imported by name, and only when they are called."""

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import birdcache
from birdcache.errors import report_problems

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Command:
    """A command: the module whose `run` it is, one line of help, and what adds its arguments."""

    module: str
    help: str
    add: Callable[[argparse.ArgumentParser], object] = lambda _: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command; statuses are those of docs/commands.md."""
    chosen = build_parser().parse_args(arguments)
    if chosen.quiet:
        os.environ["BIRDCACHE_QUIET"] = "1"  # for progress
    try:
        with redirect_stdout(_Warnings() if chosen.quiet else sys.stdout):
            report_problems(lambda: run(chosen))
        sys.stdout.flush()
    except SystemExit as ended:
        if chosen.verbose and ended.__cause__:
            traceback.print_exception(ended.__cause__)
        raise
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        raise SystemExit(130) from None
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
    commands = parser.add_subparsers(prog="birdcache", dest="command", required=True, help=argparse.SUPPRESS)
    for name, command in (ANYWHERE | IN_CHECKOUT).items():
        example = f"example: birdcache {name} {EXAMPLES.get(name, '')}"
        added = commands.add_parser(name, help=command.help, description=command.help, epilog=example)
        added.add_argument("-q", "--quiet", action="store_true", help="print warnings and errors alone")
        added.add_argument("-v", "--verbose", action="store_true", help="print where in the code an error was met, too")
        command.add(added)
    return parser


class _Warnings(io.TextIOBase):
    """What --quiet leaves of standard output: warnings, on standard error."""

    def write(self, text: str) -> int:
        return sys.stderr.write(f"{text}\n" if text.startswith("warning") else "")


class _Version(argparse.Action):
    """Prints the version, which is looked up only for that."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"birdcache {birdcache.__version__}")
        parser.exit()


def _listed(commands: dict[str, Command]) -> str:
    return "\n".join(f"  {name:<11}{command.help}" for name, command in commands.items())


def _add_init(parser: argparse.ArgumentParser) -> None:
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add("--demo", action="store_true", help="the built-in synthetic dawn chorus")
    add("--birdclef", metavar="ROOT", type=Path, help="any year's BirdCLEF, or train.csv and train_audio/")
    add("--folders", metavar="ROOT", type=Path, help="folder with one folder of recordings per class")
    add("--annotations", metavar="ROOT", type=Path, help="folder of recordings that the tables in annotations/ name")
    parser.add_argument("--backbone", metavar="NAME", help="timm model; default: by the size of the data")
    parser.add_argument(
        "--pretrained",
        metavar="WHAT",
        help="false, true (timm downloads) or a .safetensors file; default: <backbone>.safetensors in weights/ "
        "here, in ROOT or in the two folders above it, else false",
    )
    parser.add_argument("--ensemble", action="store_true", help="three members that differ, instead of one")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("store", nargs="?", metavar="STORE", help="a store's folder or a view's name, default: all stores")
    add("--full", action="store_true", help="compare the SHA-256 of large files too, not only their chunks' CRC-32C")


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
    parser.add_argument("--out", type=Path, default=Path("site"), metavar="DIR", help="its folder; default: site")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_runtime(parser)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any that is free")


def _add_kaggle(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="such as bundles/birds.bundle")
    add("--user", required=True, metavar="NAME", help="your name on Kaggle, as in its addresses")
    add("--competition", required=True, metavar="NAME", help="such as birdclef-2025")
    add("--out", type=Path, default=Path("kaggle"), metavar="DIR", help="new folder; default: kaggle")
    add("--python", default="3.12", metavar="VERSION", help="of Kaggle's notebooks; default: 3.12")
    add("--wheels", type=Path, metavar="DIR", help="folder of wheels, used instead of pip's index")


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", type=Path, metavar="BUNDLE", help="such as bundles/birds.bundle")
    add("--runtime", type=Path, metavar="FILE", help="onnxruntime-web as `npm pack` gives it; default: in your cache")
    add("--fetch", action="store_true", help="let npm fetch it into your cache, if it is not there")


def _number(lowest: float, highest: float) -> Callable[[str], float]:
    """The type of an argument that is a number within bounds."""

    def read(text: str) -> float:
        with suppress(ValueError):
            if lowest <= float(text) <= highest:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text}: must be a number from {lowest:g} to {highest:g}")

    return read


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add, seconds = parser.add_argument, dict[str, Any](type=_number(0, 3600), metavar="SECONDS")
    add("paths", nargs="+", type=Path, metavar="PATH", help="audio files, folders, or - for a list on standard input")
    add("--model", required=True, type=Path, metavar="DIR", help="a bundle, or trained models: models, models/base ...")
    add("--out", type=Path, default=Path("detections"), metavar="DIR", help="results, and scores to continue from")
    add("--format", default="csv", metavar="NAMES", help="csv, raven, audacity, kaggle, hours, parquet; commas between")
    add("--sample", type=Path, metavar="CSV", help="sample_submission.csv for kaggle; default: the models' own")
    add("--threshold", type=_number(0, 1), metavar="SCORE", help="lowest score of a detection; default: each class's")
    add("--window", type=_number(0.1, 3600), metavar="SECONDS", help="length of a detection; default: the ensemble's")
    add("--overlap", **seconds, help="overlap of the clips whose scores a window averages; default: the ensemble's")
    add("--merge", action="store_true", help="make detections of a label that follow each other one")
    add("--min-duration", **seconds, default=0.0, help="leave out shorter detections, after --merge")
    add("--ensemble", type=Path, metavar="JSON", help="blend of trained models; default: their data/ensemble.json")
    add("--species", type=Path, metavar="FILE", help="species of the place, by week or month if wanted: others score 0")
    add("--species-weight", type=_number(0, 1), default=1.0, metavar="SHARE", help="weight of --species; default: 1")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _add_batch(parser: argparse.ArgumentParser) -> None:
    _add_split(parser)
    parser.add_argument("--epoch", type=int, default=1, metavar="N", help="epoch whose first batch is shown, default 1")
    parser.add_argument("--clips", type=int, default=6, metavar="N", help="how many clips, default 6")


def _add_tune(parser: argparse.ArgumentParser) -> None:
    _add_split(parser, "tune.fold")
    parser.add_argument("--trials", type=int, metavar="N", help="trials in all, default: tune.trials")


def _add_split(parser: argparse.ArgumentParser, fold: str = "the first of folds.train") -> None:
    parser.add_argument("member", metavar="MEMBER", help="a member of params.yaml")
    parser.add_argument("--fold", type=int, metavar="N", help=f"fold to leave out, default: {fold}")


ANYWHERE = {
    "predict": Command("birdcache.predict.command", "detections in audio files, in many tools' forms", _add_predict),
    "page": Command("birdcache.page.build", "a static web page that scores recordings in the browser", _add_page),
    "serve": Command("birdcache.page.server", "the same page on a port of this machine, until Ctrl-C", _add_serve),
    "completion": Command(
        "birdcache.completion", "completion for a shell", lambda to: to.add_argument("shell", choices=SHELLS)
    ),
}
IN_CHECKOUT = {
    "init": Command("commands.project.init", "write a params.yaml for your data", _add_init),
    "plan": Command("commands.plan.command", "what `dvc repro` would run, why, and what decoding would cost"),
    "info": Command("commands.store.info", "contents of a store", lambda to: to.add_argument("store", type=Path)),
    "verify": Command("commands.store.verify", "find corrupted recordings in stores", _add_verify),
    "cache": Command("commands.store.cache", "the pool of finished spectrograms", _add_cache),
    "weights": Command("commands.project.weights", "members' first weights, from files of any project", _add_weights),
    "batch": Command("commands.inspect.batch", "a picture of clips as stored, and as a model sees them", _add_batch),
    "kaggle": Command("commands.export.kaggle", "a folder that scores Kaggle's hidden soundscapes", _add_kaggle),
    "ladder": Command("commands.project.ladder", "measure what each rung and each technique of training gains"),
    "tune": Command("commands.tune.command", "search better values of a recipe's keys for a member", _add_tune),
    "report": Command("commands.report.command", "metrics of the last run, and where its results are"),
    "doctor": Command("commands.project.doctor", "check Python, codecs, GPU, disk and DVC, and say how to fix them"),
}
EXAMPLES = {  # arguments of one call
    "predict": "recordings --model models --format csv,hours",
    "page": "bundles/birds.bundle --fetch",
    "serve": "bundles/birds.bundle --port 8080",
    "completion": "bash >> ~/.bashrc",
    "init": "--folders data/my-birds",
    "info": "data/cache/mel.zarr",
    "verify": "mel --full",
    "cache": "gc",
    "weights": "import b0.pth --backbone efficientnet_b0",
    "batch": "base --clips 3",
    "kaggle": "my.bundle --user NAME --competition birdclef-2025",
    "tune": "base --trials 20",
}

if __name__ == "__main__":
    main()
