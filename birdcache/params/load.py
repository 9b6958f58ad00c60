"""Reading params.yaml.

`load()` refuses a wrong file with all its problems at once; below this border everything is typed and trusted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from birdcache.params import rules
from birdcache.params.model import Params
from birdcache.params.recipe import completed, is_derived
from birdcache.params.yaml_file import ParamsError as ParamsError
from birdcache.params.yaml_file import read_yaml
from birdcache.text import counted

DEFAULT_PATH = Path("params.yaml")


def load(path: Path = DEFAULT_PATH) -> Params:
    """Read and check a params file; a ParamsError lists all problems at once: missing, no YAML, or broken rules.

    Rules between sections are only checked once each section is valid by itself.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: must hold sections (demo, data, views, ...); run `birdcache init --demo`")
    bases, problems = _expand_recipes(raw)
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        problems += _own([rules.explain(problem, raw, Params) for problem in error.errors()], bases)
    else:
        problems = problems or list(rules.problems(params))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ParamsError(f"{path}: {counted(len(problems), 'problems')}\n{lines}")
    return params


def override_problems(params: Params, name: str, override: Mapping[str, Any]) -> list[str]:
    """Problems of a member if its override were this one."""
    member = params.members[name].model_copy(update={"override": override})
    return list(rules.member_problems(f"members.{name}", member, params))


def _expand_recipes(raw: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Complete the recipes that have a base, in place; their bases, and what is wrong with them."""
    if not isinstance(raw.get("train"), dict):
        return {}, []
    problems = []
    recipes = raw["train"]
    raw["train"] = {}
    for name in recipes:
        try:
            raw["train"][name] = completed(name, recipes)
        except ValueError as error:
            problems.append(f"train.{name}.{error}")
    return {name: recipe["base"] for name, recipe in recipes.items() if is_derived(recipe)}, problems


def _own(lines: list[str], bases: dict[str, str]) -> list[str]:
    """Without those that a recipe only has because its base has them."""
    of_base = {
        line.replace(f"train.{base}.", f"train.{name}.")
        for name, base in bases.items()
        for line in lines
        if line.startswith(f"train.{base}.")
    }
    return [line for line in lines if line not in of_base]
