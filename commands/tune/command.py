"""`birdcache tune`: search better values of a recipe's keys for a member: a table, a picture, and YAML to paste."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study
from ruamel.yaml import YAML

from birdcache.errors import CommandError
from birdcache.formulas import escaped
from birdcache.params import load as parameters
from birdcache.params.load import Params
from birdcache.params.recipe import merged
from birdcache.params.rules import override_problems
from birdcache.params.tune import TuneParams, as_override, values_of
from birdcache.progress import Progress
from commands.inspect.splits import split_of
from commands.tune.figures import draw
from train.tune.journal import open_study
from train.tune.search import Outcome, Search, best_of, journal_path

JOURNALS, REPORTS = Path(".birdcache/tune"), Path("reports/tune")


def run(arguments: argparse.Namespace) -> None:
    """Search until there are as many trials as asked for; write reports/tune/<member>.csv and .png.

    Raises
    ------
    CommandError
        If there is nothing to search, a value cannot be this member's, or no trial finishes.
    """
    search = search_of(parameters.load(), arguments)
    with open_study(journal_path(JOURNALS, search), search.maximises, search.pruner) as study:
        print(greeting(search, search.outcomes(study)), flush=True)
        try:
            run_trials(search, study)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here")
        tell(search, search.outcomes(study), parameters.load().members[arguments.member].override)


def search_of(loaded: Params, arguments: argparse.Namespace) -> Search:
    """What the command line and params.yaml ask for, checked as far as it can be before the first training."""
    trials = loaded.tune.trials if arguments.trials is None else arguments.trials
    if trials < 1:
        raise CommandError(f"--trials {trials}: must be at least 1")
    if not loaded.tune.keys:
        raise CommandError(
            "params.yaml: tune.keys names nothing to search; name keys of the recipe, as the template does"
        )
    split = split_of(arguments.member, loaded.tune.fold if arguments.fold is None else arguments.fold)

    def refused(values: Mapping[str, Any]) -> list[str]:
        override = merged(loaded.members[arguments.member].override, as_override(values))
        return override_problems(loaded, arguments.member, override)

    search = Search(split, loaded.tune.model_copy(update={"trials": trials}), loaded.machine, refused)
    if problems := list(value_problems(search)):
        raise CommandError(
            "\n  ".join([f"tune: {len(problems)} value(s) cannot be tried on {split.member.name}", *problems])
        )
    search.check()
    return search


def value_problems(search: Search) -> Iterator[str]:
    """Values of the search that the member cannot have, each by itself beside the member's other keys."""
    for key, space in search.tune.keys.items():
        for place, value in values_of(space).items():
            for problem in search.refused({key: value}):
                yield f"tune.keys.{key}.{place} = {value!r}: {problem}"


def greeting(search: Search, outcomes: list[Outcome]) -> str:
    """What is searched, how much of it is done, and what else lies beside it."""
    member, fold, tune = search.split.member.name, search.split.fold, search.tune
    path = journal_path(JOURNALS, search)
    lines = [f"{member}, fold {fold}: {tune.trials} trials over {', '.join(tune.keys)} for {tune.metric} ({path})"]
    if outcomes:
        lines.append(f"{len(outcomes)} trials are done already, and are not run again")
    elif search.begins_with_standing:
        lines.append("trial 1 is the member as it stands")
    if others := len(list(path.parent.glob("*.journal"))) - 1:
        lines.append(f"{others} searches under other parameters are kept beside it; they go on if you set these back")
    return "\n".join(lines)


def run_trials(search: Search, study: Study) -> None:
    """Run the trials that are missing, with a line for each and a bar that counts epochs."""
    outcomes, longest = search.outcomes(study), longest_training(search)
    missing = search.tune.trials - len(outcomes)
    if missing <= 0:
        return
    with Progress(missing * longest, f"tune {search.split.member.name}", "epochs") as progress:
        for _ in range(missing):
            outcome = search.run_trial(study, progress.update)
            progress.update(longest - outcome.epochs)
            outcomes.append(outcome)
            progress.say(line(outcome, search.tune, best_of(outcomes, search.maximises)))


def longest_training(search: Search) -> int:
    """Epochs of the longest trial that may be drawn."""
    space = search.tune.keys.get("epochs")
    return search.split.member.recipe.epochs if space is None else int(max(values_of(space).values()))


def line(outcome: Outcome, tune: TuneParams, best: Outcome | None) -> str:
    """The line of a trial."""
    head = f"trial {outcome.number:>2}/{tune.trials}"
    tried = "  ".join(f"{key} {shown(value)}" for key, value in outcome.values.items())
    if outcome.merit is None:
        return f"{head}  failed: {outcome.why}  [{tried}]"
    if outcome.state == "pruned":
        return f"{head}  {tune.metric} {outcome.merit:.4f}  stopped after epoch {outcome.epochs}  [{tried}]"
    record = "  best so far" if outcome == best else ""
    return f"{head}  {tune.metric} {outcome.merit:.4f}  in {outcome.seconds:.0f} s  [{tried}]{record}"


def shown(value: Any) -> str:
    """A value as short as it can be."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def tell(search: Search, outcomes: list[Outcome], override: Mapping[str, Any]) -> None:
    """Write table and picture, print the best values."""
    member, tune = search.split.member.name, search.tune
    best = best_of(outcomes, search.maximises)
    if best is None:
        raise CommandError(f"{member}: no trial has finished, so there is nothing to tell; the lines above say why")
    table, picture = REPORTS / f"{member}.csv", REPORTS / f"{member}.png"
    write_table(outcomes, tune, table)
    draw(search, outcomes, best, picture)
    print(f"{table}, {picture}")
    print(f"best: trial {best.number} of {len(outcomes)}, {tune.metric} {best.merit:.4f}{standing(search, outcomes)}")
    print(f"for params.yaml, below members.{member}:\n{override_yaml(merged(override, as_override(best.values)))}")


def standing(search: Search, outcomes: list[Outcome]) -> str:
    """What the member as it stands reaches, if that was tried."""
    first = outcomes[0]
    tried = first.values == search.standing and first.state == "finished"
    return f"; trial 1, the member as it stands: {first.merit:.4f}" if tried else ""


def write_table(outcomes: list[Outcome], tune: TuneParams, path: Path) -> None:
    """A row for each trial."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", tune.metric, "epochs_run", "seconds", *tune.keys, "why"])
        for each in outcomes:
            merit = "" if each.merit is None else f"{each.merit:.6g}"
            values = [each.values[key] for key in tune.keys]
            row = [each.number, each.state, merit, each.epochs, f"{each.seconds:.1f}", *values, each.why]
            writer.writerow(escaped(cell) if isinstance(cell, str) else cell for cell in row)


def override_yaml(override: Mapping[str, Any]) -> str:
    """A member's override as it stands in params.yaml, indented alike."""
    yaml, stream = YAML(), io.StringIO()
    yaml.dump({"override": override}, stream)
    return "".join(f"    {row}" for row in stream.getvalue().splitlines(keepends=True)).rstrip()
