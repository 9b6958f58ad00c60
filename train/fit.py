"""Stage `train@<member>-<fold>`: train one member on one fold."""

from functools import partial

from birdcache.errors import run_stage
from birdcache.params import load as parameters
from birdcache.stage import stage_key
from train.data.member import read_member
from train.loop.distributed import run_together
from train.loop.run import place_of, train
from train.model.classifier import choose_device
from train.paths import split_run


def main() -> None:
    """Train the `<member>-<fold>` that runs; see `train.loop.run.Run` for what it writes."""
    name, fold = split_run(stage_key("base-0"))
    machine, place = parameters.load().machine, place_of(name, fold)
    device = choose_device(machine.device)
    run_together(partial(train, read_member(name), fold, place, machine, device), machine, device)


if __name__ == "__main__":
    run_stage(main)
