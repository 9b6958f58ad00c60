"""All that has to be seen on a GPU, in one call of under 8 minutes; each line is printed as soon as it is known.

First what has to hold: the same clips, images and losses as on a CPU, no wait of the host, no memory kept. Then speeds
over a store of BirdCLEF's size, 280 hours of made-up values (8 GB as uint8, 16 GB as float16, in --folder):

`..._ms`, `..._launch_ms`: a step of real training, and the part of it until the host has launched it.
`..._keep`: real training relative to the same steps on one batch that stays in memory.
`..._busy`: share of a step's time in which the device computes; on a CPU, in which the loop does not wait for data.
`loader_...`: fed by a DataLoader whose workers decode on the fly; `waveforms_...`: by a cache of 16-bit waveforms.

With `--device cpu --hours 0.5` it runs anywhere, with small batches and few steps.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu_checks import PLACEMENTS, Checks, rows_beyond_2_31
from benchmarks.gpu_speeds import CORES, Sizes, Speeds
from benchmarks.laps import device_name
from benchmarks.lines import Lines
from benchmarks.stores import megabytes_of, write_store
from benchmarks.timing import SHIPPED, parser_of, report
from birdcache.params import load as parameters
from birdcache.params.model import Params
from cache.store import Store

MINUTES = 7.0  # after which nothing more is begun
SMALL_HOURS = 0.5  # of the store of the checks
DTYPES = ("uint8", "float16")
PARTS = ("checks", "speeds", "waveforms", "loader")
BACKBONES = ("efficientnet_b0", "efficientnet_b3", "tf_efficientnet_lite0")
SMALL_BACKBONES = ("test_efficientnet", "tf_efficientnet_lite0", "efficientnet_b0")  # on a CPU
ON_GPU, ON_CPU = Sizes(batch=64, steps=40, rounds=3, warm=10), Sizes(batch=8, steps=5, rounds=3, warm=1)


def main() -> None:
    """Run all, print lines, write JSON if asked; status 1 if something does not hold or breaks off."""
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    lines = Lines(arguments.log, {"device": device_name(device), "hours": arguments.hours}, 60 * MINUTES)
    lines.say("device", f"{device_name(device)}, torch {torch.__version__}, {CORES} cores")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run(Path(folder), arguments, device, lines)
    report(lines.numbers, arguments.json)
    sys.exit(1 if lines.failed else 0)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--hours", type=float, default=280.0, help="hours of audio in the store")
    parser.add_argument("--folder", type=Path, help="folder for the stores, such as /dev/shm; default: a temporary one")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append each line there, as soon as it is known")
    parser.add_argument("--backbones", nargs="+", metavar="NAME")
    parser.add_argument("--batch", type=int, help=f"clips of a batch; default: {ON_GPU.batch}, on a CPU {ON_CPU.batch}")
    parser.add_argument("--steps", type=int, help=f"steps of a lap; default: {ON_GPU.steps}, on a CPU {ON_CPU.steps}")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.set_defaults(rounds=3)
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def run(folder: Path, arguments: argparse.Namespace, device: torch.device, lines: Lines) -> None:
    """All parts, one after another; what matters most first, since the time may be up."""
    params, on_gpu = parameters.load(SHIPPED), device.type == "cuda"
    sizes = ON_GPU if on_gpu else ON_CPU
    sizes = replace(
        sizes, batch=arguments.batch or sizes.batch, steps=arguments.steps or sizes.steps, rounds=arguments.rounds
    )
    stores = write_stores(folder, params, arguments.hours, lines)  # processes are forked before CUDA is used
    if "checks" in arguments.only:
        for dtype in DTYPES:
            view, backbone = (
                params.spectrograms["mel"].model_copy(update={"dtype": dtype}),
                params.members["base"].backbone,
            )
            megabytes = megabytes_of(view, min(SMALL_HOURS, arguments.hours))
            small = write_store(folder / f"small-{dtype}", view, "none", megabytes)
            checks = Checks(small, params, device, lines.tell, backbone)
            for name, check in checks.of_data().items():
                lines.attempt(name, check)
        for name, check in checks.of_training().items():
            lines.attempt(name, check)
        lines.attempt("the last rows", partial(rows_beyond_2_31, stores["uint8"], device, lines.tell))
    speeds = Speeds(params, device, sizes, lines)
    backbones = arguments.backbones or (BACKBONES if on_gpu else SMALL_BACKBONES)
    for number, backbone in enumerate(backbones):
        if "speeds" in arguments.only:
            for dtype, placement in itertools.product(DTYPES, PLACEMENTS):
                measure = partial(speeds.placement, stores[dtype], placement, backbone)
                lines.attempt(f"{backbone} {dtype} {placement}", measure)
        if "waveforms" in arguments.only and number == 0:
            for place in ("host", "device") if on_gpu else ("host",):
                measure = partial(speeds.waveforms, stores["float16"], arguments.hours, place, backbone)
                lines.attempt(f"waveforms {place}", measure)
        if "loader" in arguments.only and number == 0:
            lines.attempt("loader", partial(speeds.loader, folder / "loader", backbone))
    for backbone in backbones if on_gpu and "speeds" in arguments.only else ():
        lines.attempt(f"{backbone} without a graph", partial(speeds.without_graph, stores["uint8"], backbone))
        lines.attempt(f"{backbone} compiled", partial(speeds.compiled, stores["uint8"], backbone))


def write_stores(folder: Path, params: Params, hours: float, lines: Lines) -> dict[str, Store]:
    """A store of each dtype."""
    stores = {}
    for dtype in DTYPES:
        view, begin = params.spectrograms["mel"].model_copy(update={"dtype": dtype}), time.perf_counter()
        (folder / dtype).mkdir(parents=True)
        stores[dtype] = write_store(folder / dtype, view, "none", megabytes_of(view, hours), CORES)
        spent_s = time.perf_counter() - begin
        lines.say(f"wrote {hours:g} h as {dtype}", f"{megabytes_of(view, hours) / 1e3:.2f} GB in {spent_s:.1f} s")
    return stores


if __name__ == "__main__":
    main()
