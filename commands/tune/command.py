"""`birdcache tune`: search for better values of a recipe's keys; writes a table and a picture, prints YAML to paste."""

import argparse
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study
from ruamel.yaml import YAML

from birdcache.errors import CommandError
from birdcache.files import write_rows
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import merged
from birdcache.params.tune import TuneParams, as_override, values_of
from birdcache.progress import Progress
from birdcache.text import counted
from commands.inspect.data import open_dataset
from commands.tune.figures import draw
from train.tune.journal import open_study
from train.tune.search import Outcome, Search, best_of, journal_path

JOURNALS, REPORTS = Path(".birdcache/tune"), Path("reports/tune")


def run(arguments: argparse.Namespace) -> None:
    """Search until the requested number of trials is reached; write reports/tune/<member>.csv and .png.

    A CommandError if there is nothing to search, a value does not suit the member, or no trial finishes.
    """
    search = search_of(parameters.load(), arguments)
    with open_study(journal_path(JOURNALS, search), search.maximises, search.pruner) as study:
        print(overview(search, search.outcomes(study)), flush=True)
        try:
            run_trials(search, study)
        except KeyboardInterrupt:
            print("stopped; run the same command to continue")
        report(search, search.outcomes(study), parameters.load().members[arguments.member].override)


def search_of(loaded: Params, arguments: argparse.Namespace) -> Search:
    """The search that params.yaml and the arguments ask for, checked as far as possible before the first training."""
    trials = loaded.tune.trials if arguments.trials is None else arguments.trials
    if trials < 1:
        raise CommandError(f"--trials {trials}: must be at least 1")
    if not loaded.tune.keys:
        raise CommandError("params.yaml: tune.keys is empty; name keys of the recipe to search, such as optimiser.lr")
    split = open_dataset(arguments.member, loaded.tune.fold if arguments.fold is None else arguments.fold)

    def refused(values: Mapping[str, Any]) -> list[str]:
        override = merged(loaded.members[arguments.member].override, as_override(values))
        return parameters.override_problems(loaded, arguments.member, override)

    search = Search(split, loaded.tune.model_copy(update={"trials": trials}), loaded.machine, refused)
    if problems := list(value_problems(search)):
        head = f"params.yaml: tune.keys: {counted(len(problems), 'values', 'are')} unfit for member {split.member.name}"
        raise CommandError("\n  ".join([head, *problems]))
    search.check()
    return search


def value_problems(search: Search) -> Iterator[str]:
    """Values of the search that the member cannot have, each tested by itself with the member's other keys."""
    for key, space in search.tune.keys.items():
        for place, value in values_of(space).items():
            for problem in search.refused({key: value}):
                yield f"tune.keys.{key}.{place} = {value!r}: {problem}"


def overview(search: Search, outcomes: list[Outcome]) -> str:
    """Lines on what is searched, and how much of it is done."""
    split, tune = search.split, search.tune
    head = f"{split.member.name}, fold {split.fold}: {counted(tune.trials, 'trials')} over {', '.join(tune.keys)}"
    lines = [f"{head} for {tune.metric} ({journal_path(JOURNALS, search)})"]
    if outcomes:
        lines.append(f"{counted(len(outcomes), 'trials', 'are')} already done and will not run again")
    elif search.begins_with_standing:
        lines.append("trial 1 tries the member's current values")
    return "\n".join(lines)


def run_trials(search: Search, study: Study) -> None:
    """Run the missing trials, with a line for each and a progress bar that counts epochs."""
    outcomes, epochs = search.outcomes(study), search.tune.keys.get("epochs")
    longest = search.split.member.recipe.epochs if epochs is None else int(max(values_of(epochs).values()))
    missing = search.tune.trials - len(outcomes)
    if missing <= 0:
        return
    with Progress(missing * longest, f"tune {search.split.member.name}", "epochs") as progress:
        for _ in range(missing):
            outcome = search.run_trial(study, progress.update)
            progress.update(longest - outcome.epochs)
            outcomes.append(outcome)
            progress.say(line(outcome, search.tune, best_of(outcomes, search.maximises)))


def line(outcome: Outcome, tune: TuneParams, best: Outcome | None) -> str:
    """One line about a trial."""
    head = f"trial {outcome.number:>2}/{tune.trials}"
    tried = "  ".join(f"{key} {shown(value)}" for key, value in outcome.values.items())
    if outcome.merit is None:
        return f"{head}  failed: {outcome.why}  [{tried}]"
    if outcome.state == "pruned":
        return f"{head}  {tune.metric} {outcome.merit:.4f}  stopped after epoch {outcome.epochs}  [{tried}]"
    record = "  best so far" if outcome == best else ""
    return f"{head}  {tune.metric} {outcome.merit:.4f}  in {outcome.seconds:.0f} s  [{tried}]{record}"


def shown(value: Any) -> str:
    """The shortest text of a value."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def report(search: Search, outcomes: list[Outcome], override: Mapping[str, Any]) -> None:
    """Write the table and the picture; print the best values."""
    member, tune = search.split.member.name, search.tune
    best = best_of(outcomes, search.maximises)
    if best is None:
        raise CommandError(f"{member}: no trial has finished; the lines above say why")
    table, picture = REPORTS / f"{member}.csv", REPORTS / f"{member}.png"
    write_table(outcomes, tune, table)
    draw(search, outcomes, best, picture)
    print(f"{table}, {picture}")
    first = outcomes[0]
    is_standing = first.values == search.standing and first.state == "finished"
    current = f"; with its current values (trial 1): {first.merit:.4f}" if is_standing else ""
    print(f"best: trial {best.number} of {len(outcomes)}, {tune.metric} {best.merit:.4f}{current}")
    print(f"to use it, put this into params.yaml under members.{member}:")
    print(override_yaml(merged(override, as_override(best.values))))


def write_table(outcomes: list[Outcome], tune: TuneParams, path: Path) -> None:
    """Write a row for each trial."""
    rows = []
    for each in outcomes:
        merit = "" if each.merit is None else f"{each.merit:.6g}"
        values = [each.values[key] for key in tune.keys]
        rows.append([each.number, each.state, merit, each.epochs, f"{each.seconds:.1f}", *values, each.why])
    columns = ["trial", "state", tune.metric, "epochs_run", "seconds", *tune.keys, "why"]
    write_rows(path, columns, (list(map(str, row)) for row in rows))


def override_yaml(override: Mapping[str, Any]) -> str:
    """A member's override as YAML, indented as in params.yaml."""
    yaml, stream = YAML(), io.StringIO()
    yaml.dump({"override": override}, stream)
    return "".join(f"    {row}" for row in stream.getvalue().splitlines(keepends=True)).rstrip()
