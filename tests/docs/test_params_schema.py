"""docs/params.schema.json, by which editors complete and check params.yaml, agrees with the program."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

import docs.parameters as parameters
from tests.fixtures import tiny
from tests.fixtures.tiny import ROOT

SCHEMA = json.loads(parameters.SCHEMA.read_text(encoding="utf-8"))
FILES = [ROOT / "params.yaml", *sorted((ROOT / "docs").glob("*.params.yaml"))]
KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "null": type(None),
}
WORDS = {"title", "description", "default", "discriminator", "$defs", "$schema", "propertyNames"}


Rule = Callable[[Any, Any], bool]
RULES: dict[str, Rule] = {  # whether a value breaks a keyword's rule
    "type": lambda value, rule: not is_of(rule, value),
    "enum": lambda value, rule: value not in rule,
    "const": lambda value, rule: value != rule,
    "minimum": lambda value, rule: is_of("number", value) and value < rule,
    "maximum": lambda value, rule: is_of("number", value) and value > rule,
    "exclusiveMinimum": lambda value, rule: is_of("number", value) and value <= rule,
    "exclusiveMaximum": lambda value, rule: is_of("number", value) and value >= rule,
    "pattern": lambda value, rule: isinstance(value, str) and not re.search(rule, value),
    "minLength": lambda value, rule: isinstance(value, str) and len(value) < rule,
    "maxLength": lambda value, rule: isinstance(value, str) and len(value) > rule,
    "minItems": lambda value, rule: isinstance(value, list) and len(value) < rule,
    "maxItems": lambda value, rule: isinstance(value, list) and len(value) > rule,
    "minProperties": lambda value, rule: isinstance(value, dict) and len(value) < rule,
    "required": lambda value, rule: isinstance(value, dict) and bool(set(rule) - value.keys()),
    "anyOf": lambda value, rule: all([*problems(value, each)] for each in rule),
    "oneOf": lambda value, rule: sum(not [*problems(value, each)] for each in rule) != 1,
}
INNER = {"properties", "patternProperties", "additionalProperties", "items", "$ref", "if", "then", "else"}


def is_of(kind: str, value: Any) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def problems(value: Any, node: dict[str, Any], at: str = "") -> Iterator[str]:
    """Where a value breaks a schema, by the keywords that ours uses; a KeyError if it uses another one."""
    for word in node.keys() - WORDS - INNER:
        if RULES[word](value, node[word]):
            yield f"{at}: {word}"
    if node.get("additionalProperties") is False and unknown(value, node):
        yield f"{at}: additionalProperties"
    yield from inner_problems(value, node, at)


def unknown(value: Any, node: dict[str, Any]) -> list[str]:
    if not isinstance(value, dict):
        return []
    patterns = node.get("patternProperties", {})
    return [key for key in value if key not in node.get("properties", {}) and not any(map(key.startswith, patterns))]


def inner_problems(value: Any, node: dict[str, Any], at: str) -> Iterator[str]:
    if "$ref" in node:
        yield from problems(value, SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], at)
    if "if" in node:
        yield from problems(value, node["else" if [*problems(value, node["if"])] else "then"], at)
    for key, each in node.get("properties", {}).items():
        if isinstance(value, dict) and key in value:
            yield from problems(value[key], each, f"{at}.{key}")
    for pattern, each in node.get("patternProperties", {}).items():
        for key in [key for key in value if re.search(pattern, key)] if isinstance(value, dict) else []:
            yield from problems(value[key], each, f"{at}.{key}")
    if isinstance(value, list) and "items" in node:
        for number, each in enumerate(value):
            yield from problems(each, node["items"], f"{at}[{number}]")


def read(path: Any) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def test_the_schema_is_current_and_params_yaml_names_it() -> None:
    current = parameters.SCHEMA.read_text(encoding="utf-8") == parameters.schema()
    assert current, "docs/params.schema.json is not what the schema says; run `python -m docs.parameters`"
    first = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={parameters.SCHEMA.relative_to(ROOT).as_posix()}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_that_the_program_accepts_keep_to_the_schema(path: Any) -> None:
    assert [*problems(read(path), SCHEMA)] == []


def test_the_tests_own_project_keeps_to_it() -> None:
    assert [*problems(tiny.tiny_params("chorus"), SCHEMA)] == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("machine.worker", 2, ".machine: additionalProperties"),
        ("folds.count", "five", ".folds.count: type"),
        ("views.mel.n_mels", 4, ".views.mel: oneOf"),
        ("train.baseline.augment.time_shift_s", -1, ".train.baseline.augment.time_shift_s: minimum"),
        ("train.regularised.augment.mixupp", {}, ".train.regularised.augment: additionalProperties"),
        ("members.base.head", "transformer", ".members.base.head: enum"),
        ("members.base.override.optimiser", {"rate": 0.1}, ".members.base.override.optimiser: additionalProperties"),
        ("predict", {}, ".predict: required"),
    ],
)
def test_mistakes_are_found(key: str, value: Any, told: str) -> None:
    raw = copy.deepcopy(read(ROOT / "params.yaml"))
    *steps, last = key.split(".")
    node = raw
    for step in steps:
        node = node[step]
    node[last] = value
    assert [*problems(raw, SCHEMA)] == [told]
    if importlib.util.find_spec("jsonschema"):
        jsonschema = importlib.import_module("jsonschema")
        assert [*jsonschema.Draft202012Validator(SCHEMA).iter_errors(raw)]


def test_keys_are_described_by_the_comments_of_params_yaml() -> None:
    described = SCHEMA["$defs"]["MelView"]["properties"]["n_mels"]["description"]
    assert described == "mel bins"
    recipe = SCHEMA["$defs"]["DerivedRecipe"]["properties"]
    assert recipe["weights"]["description"].startswith("weights to use: last | best")
    assert "base" in recipe
