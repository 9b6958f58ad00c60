"""The accuracy of uint8 stores beside float16: the same members trained on both, with the same seeds.

Run it after `dvc repro`, in a project such as the demo: it uses the project's recordings, folds, members and pool, and
decodes only what the pool lacks. Both dtypes of a seed start from the same weights and draw the same clips, so each
pair gives one difference; the standard error shows whether the mean difference is more than chance. The stores are
removed at the end; their parts stay in the pool until `birdcache cache gc`.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import resolve_recipe
from birdcache.params.sections import MachineParams
from cache import tables
from cache.locks import building
from cache.store import Store
from cache.store_writer import commit_store
from pipeline.builder.build import Builder
from pipeline.spectrograms import pool_root, read_sources
from train.data.examples import read_examples, read_labels
from train.data.frames import open_frames
from train.data.member import ResolvedMember
from train.loop.distributed import ALONE
from train.loop.split import TrainingSplit
from train.loop.trainer import Trainer
from train.members import resolve
from train.model.classifier import choose_device

Dtype = Literal["float16", "uint8"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
METRICS = ("accuracy", "macro_roc_auc", "cmap", "loss")


@dataclass(frozen=True)
class TrainingRun:
    """A training and the metrics of its last epoch."""

    member: str
    dtype: Dtype
    fold: int
    seed: int
    metrics: Mapping[str, float]


def main() -> None:
    """Train every combination, print a table, write JSON if asked."""
    arguments = parse_arguments()
    params = parameters.load()
    runs: list[TrainingRun] = []
    store_bytes: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.members:
            stores = {dtype: build(params, name, dtype, Path(folder)) for dtype in DTYPES}
            store_bytes[name] = {dtype: bytes_of(store) for dtype, store in stores.items()}
            for run in train_pairs(params, name, stores, arguments):
                print(line(run), flush=True)
                runs.append(run)
    print("\n".join(["", *table(runs, store_bytes)]))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(runs, store_bytes, arguments.epochs), indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    parser.add_argument("--members", nargs="+", default=["base", "pcen"], metavar="NAME", help="of params.yaml")
    parser.add_argument("--folds", nargs="+", type=int, default=[0], metavar="FOLD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    return parser.parse_args()


def with_dtype(params: Params, name: str, dtype: Dtype) -> Params:
    """The parameters with another dtype for the member's view."""
    view = params.members[name].view
    changed = params.views[view].model_copy(update={"dtype": dtype, "compression": "none"})
    return params.model_copy(update={"views": {**params.views, view: changed}})


def build(params: Params, name: str, dtype: Dtype, folder: Path) -> Store:
    """Build and commit folder/<member>-<dtype>.zarr with the project's pool."""
    view = with_dtype(params, name, dtype).spectrograms[params.members[name].view]
    builder = Builder(view, pool_root(params.machine.pool), params.machine)
    target = folder / f"{name}-{dtype}.zarr"
    with building(builder.root, builder.sweep):
        parts, _ = builder.build(read_sources(tables.AUDIO), target.name)
        commit_store(target, builder.view, builder.digest, builder.quantizer, parts)
    return Store(target)


def bytes_of(store: Store) -> int:
    """Bytes of a store's spectrograms."""
    return sum(entry.bytes for part in store.manifest.parts for entry in part.files.values())


def train_pairs(
    params: Params, name: str, stores: Mapping[Dtype, Store], arguments: argparse.Namespace
) -> Iterator[TrainingRun]:
    """Train both dtypes of each fold and seed in turn."""
    for fold in arguments.folds:
        for seed in arguments.seeds:
            for dtype, store in stores.items():
                member = resolve(name, with_dtype(params, name, dtype), store)
                changes: dict[str, Any] = {"seed": seed, **shortened(member, arguments.epochs)}
                recipe = resolve_recipe(member.recipe, changes)
                member = member.model_copy(update={"recipe": recipe})
                yield TrainingRun(name, dtype, fold, seed, train(params, member, store, fold))


def shortened(member: ResolvedMember, epochs: int | None) -> dict[str, Any]:
    """Overrides for this many epochs; the warm-up must be shorter."""
    if epochs is None:
        return {}
    warmup_epochs = min(member.recipe.optimiser.warmup_epochs, epochs - 1)
    return {"epochs": epochs, "optimiser": {"warmup_epochs": warmup_epochs}}


def train(params: Params, member: ResolvedMember, store: Store, fold: int) -> dict[str, float]:
    """Train as stage `train` does; the metrics on the fold after the last epoch."""
    split = split_on(store, member, fold, params.machine)
    model = split.model()
    trainer = Trainer(model, split.batches(model), member.recipe, split.device, name=f"{member.name}-{fold}")
    *_, last = trainer.run(split.validation())
    return {name: last.metrics[name] for name in METRICS}


def split_on(store: Store, member: ResolvedMember, fold: int, machine: MachineParams) -> TrainingSplit:
    """A member's training and validation data from a given store."""
    device = choose_device(machine.device)
    examples, folds = read_examples(store, read_labels())
    frames, _ = open_frames(store, device, machine)
    trained, validated = examples.subset(folds != fold), examples.subset(folds == fold)
    return TrainingSplit(member, fold, trained, validated, frames, device, ALONE)


def differences(runs: Sequence[TrainingRun], member: str, metric: str) -> tuple[float, float]:
    """Mean of uint8 minus float16 over the pairs, and its standard error (NaN for a single pair)."""
    of = {(run.dtype, run.fold, run.seed): run.metrics[metric] for run in runs if run.member == member}
    pairs = [value - of["float16", fold, seed] for (dtype, fold, seed), value in of.items() if dtype == "uint8"]
    return float(np.mean(pairs)), deviation(pairs) / len(pairs) ** 0.5


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample, NaN for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def column(runs: Sequence[TrainingRun], member: str, dtype: str, metric: str) -> list[float]:
    """A metric of all runs of one member and dtype."""
    return [run.metrics[metric] for run in runs if (run.member, run.dtype) == (member, dtype)]


def line(run: TrainingRun) -> str:
    """One line about a training."""
    shown = "  ".join(f"{name} {run.metrics[name]:.4f}" for name in METRICS)
    return f"{run.member:<8} {run.dtype:<8} fold {run.fold} seed {run.seed}  {shown}"


def table(runs: Sequence[TrainingRun], store_bytes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Lines: mean +- standard deviation of each metric, and the difference +- its standard error."""
    yield f"{'member':<8} {'metric':<14} {'float16':>18} {'uint8':>18} {'uint8 - float16':>20}"
    for member, sizes in store_bytes.items():
        for metric in METRICS:
            cells = [column(runs, member, dtype, metric) for dtype in DTYPES]
            shown = [f"{np.mean(cell):.4f} +- {deviation(cell):.4f}" for cell in cells]
            mean, error = differences(runs, member, metric)
            yield f"{member:<8} {metric:<14} {shown[0]:>18} {shown[1]:>18} {f'{mean:+.4f} +- {error:.4f}':>20}"
        megabytes = [f"{sizes[dtype] / 1e6:.1f}" for dtype in DTYPES]
        yield f"{member:<8} {'megabytes':<14} {megabytes[0]:>18} {megabytes[1]:>18}"


def as_json(
    runs: Sequence[TrainingRun], store_bytes: Mapping[str, Mapping[str, int]], epochs: int | None
) -> dict[str, Any]:
    """All trainings, and the numbers of the table."""
    members = {}
    for member, sizes in store_bytes.items():
        found: dict[str, Any] = {"bytes": dict(sizes)}
        for metric in METRICS:
            cells = {dtype: column(runs, member, dtype, metric) for dtype in DTYPES}
            mean, error = differences(runs, member, metric)
            found[metric] = {
                **{f"{dtype}_mean": float(np.mean(cell)) for dtype, cell in cells.items()},
                **{f"{dtype}_sd": deviation(cell) for dtype, cell in cells.items()},
                "difference": mean,
                "standard_error": error,
            }
        members[member] = found
    machine = {"machine": platform.machine(), "python": platform.python_version(), "epochs": epochs or "recipe's"}
    listed = [{"member": r.member, "dtype": r.dtype, "fold": r.fold, "seed": r.seed, **r.metrics} for r in runs]
    return {**machine, "members": members, "runs": listed}


if __name__ == "__main__":
    main()
