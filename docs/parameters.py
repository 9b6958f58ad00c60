"""Write docs/parameters.md and docs/params.schema.json from the schema and params.yaml: `python -m docs.parameters`.

`make docs` runs it.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from birdcache.params.model import Params
from birdcache.params.recipe import completed
from docs.schema_words import words

ROOT = Path(__file__).parent.parent
PAGE, SCHEMA = ROOT / "docs/parameters.md", ROOT / "docs/params.schema.json"
HEAD = """\
<!-- written by `make docs` from birdcache/params/ and params.yaml: change these, not this page -->

# Parameters

Every setting is in [params.yaml](../params.yaml), and every key must be there, but for those marked with an asterisk,
which earlier files lack. Missing or unknown keys, wrong types and values out of bounds are refused before anything
runs, all at once, each with a hint; rules between sections are checked once all values are valid by themselves. No
number may be above 1e9, nan or inf. Names carry their units: `_s` seconds, `_hz` hertz, `_db` decibels. *Shipped* is
the value in the demo's `params.yaml`; `birdcache init` writes a file that fits your data.

You choose the names in angle brackets: lowercase letters, digits and `_`, beginning with a letter. `birdcache plan`
says which stages a change will run again.

"""
NAMED = {
    "demo": "data set",
    "views": "view",
    "train": "recipe",
    "members": "member",
    "rungs": "rung",
    "ablations": "ablation",
    "rounds": "round",
    "keys": "key",
    "sources": "source",
}
OF_TEACHERS = "see [learning from it](teachers.md#learning-from-it)"
ELSEWHERE = {  # keys of which params.yaml has none
    "data.sources": "see [several sources](data.md#several-sources)",
    "views": "see [teachers](teachers.md)",
    **dict.fromkeys(("members.base.teacher", "members.base.teacher.soft"), OF_TEACHERS),
}
FORMER = {"ensemble.fold_soup", "export.precision"}  # keys that older files have
DEEPEST = 4  # level of headings whose titles leave out the names of those above
ALIKE = 0.6  # share of a comment's words that a docstring repeats, from which on the comment is left out
LONGEST_VALUE = 30  # letters; longer values are shown in params.yaml only


def main() -> None:
    """Write the page, and the schema for editors."""
    for path, text in ((PAGE, page()), (SCHEMA, schema())):
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def page() -> str:
    """The whole page, as Markdown."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    shipped = YAML(typ="safe", pure=True).load(text)
    shipped["train"] = {name: completed(name, shipped["train"]) for name in shipped["train"]}
    return HEAD + "".join(Reference(comments(text)).section("", Params, shipped, ""))


def schema() -> str:
    """The JSON schema of params.yaml: pydantic's, with the comments of params.yaml, and recipes that have a base."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    found = Params.model_json_schema()
    definitions = found["$defs"]
    commented(found, definitions, YAML(typ="safe", pure=True).load(text), comments(text), "")
    partly = re.sub(r'("#/\$defs/)(\w+)"', r'\1Part\2"', json.dumps(definitions))
    parts = {f"Part{name}": each | {"required": []} for name, each in json.loads(partly).items()}
    derived = parts["PartRecipe"] | {"required": ["base"]}
    derived["properties"] = {"base": {"type": "string", "description": "the recipe whose keys these replace"}} | (
        derived["properties"]
    )
    whole, part = {"$ref": "#/$defs/Recipe"}, {"$ref": "#/$defs/PartRecipe"}
    (recipe,) = found["properties"]["train"]["patternProperties"]
    found["properties"]["train"]["patternProperties"][recipe] = {
        "if": {"required": ["base"]},
        "then": {"$ref": "#/$defs/DerivedRecipe"},
        "else": whole,
    }
    for name in ("Member", "StudentRound"):
        definitions[name]["properties"]["override"] = part
    definitions["AugmentParams"]["properties"]["windows_override"]["$ref"] = "#/$defs/PartAugmentParams"
    definitions |= used(parts, "PartRecipe") | {"DerivedRecipe": derived}
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | found, indent=1) + "\n"


def commented(node: dict[str, Any], definitions: dict[str, Any], shipped: Any, comment_of: Any, source: str) -> None:
    """Describe each key by its comment in params.yaml: the first, where sections have several entries."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    values = shipped if isinstance(shipped, dict) else {}
    for key, child in node.get("properties", {}).items():
        if comment := comment_of.get(joined(source, key)):
            child.setdefault("description", comment)
        commented(child, definitions, values.get(key), comment_of, joined(source, key))
    for child in node.get("patternProperties", {}).values():
        for name, value in values.items():
            commented(child, definitions, value, comment_of, joined(source, name))
    for child in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        commented(child, definitions, shipped, comment_of, source)


def used(definitions: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A definition, and those that it refers to."""
    below = re.findall(r'"#/\$defs/(\w+)"', json.dumps(definitions[name]))
    return {key: value for each in below for key, value in used(definitions, each).items()} | {name: definitions[name]}


def comments(text: str) -> dict[str, str]:
    """The comment of each key of params.yaml, with its continuation lines: dotted key -> comment."""
    found: dict[str, str] = {}
    steps: list[tuple[int, str]] = []
    last = ""
    for line in text.splitlines():
        key = re.match(r"( *)([\w.]+):(?: |$)", line)
        note = re.search(r"(?:^|\s)#\s?(.*)$", line)
        if key:
            steps = [*(step for step in steps if step[0] < len(key[1])), (len(key[1]), key[2])]
            last = ".".join(name for _, name in steps)
            found[last] = note[1].strip() if note else ""
        elif note and line.startswith(" "):
            found[last] += f" {note[1].strip()}"
    return found


class Reference:
    """Writer of sections; one that occurs in several places is described in the first."""

    def __init__(self, comment_of: Mapping[str, str]) -> None:
        self._comment_of, self._places = comment_of, dict[type[BaseModel], str]()

    def section(
        self,
        path: str,
        model: type[BaseModel],
        shipped: Mapping[str, Any],
        source: str,
        without: Collection[str] = (),
        depth: int = 2,
    ) -> Iterator[str]:
        """The keys of one section, then the sections in it.

        Parameters
        ----------
        path : the section's name on the page, such as `views.<view>`.
        source : its name in params.yaml, such as `views.mel`; empty for the whole file.
        without : keys that were described before.
        """
        inner = {name: models_of(field.annotation) for name, field in model.model_fields.items() if name not in without}
        leaves = [name for name, models in inner.items() if not models and f"{path}.{name}" not in FORMER]
        if leaves:
            yield self._table(model, leaves, shipped, source)
        for name, models in inner.items():
            if models:
                yield from self._below(joined(path, name), models, shipped.get(name), joined(source, name), depth)

    def _below(self, path: str, models: list[type[BaseModel]], shipped: Any, source: str, depth: int) -> Iterator[str]:
        key = path.rpartition(".")[2]
        named = key in NAMED
        title = f"{path}.<{NAMED[key]}>" if named else path
        if depth == DEEPEST:
            title = ".".join(title.split(".")[DEEPEST - 2 :])
        yield f"{'#' * depth} `{title}`\n\n"
        yield self._introduced(source, models[0])
        described_keys: set[str] = set()
        for model in models:
            if model in self._places:
                yield f"The same keys as [`{self._places[model]}`](#{anchor(self._places[model])}).\n\n"
                continue
            self._places[model] = title
            example = entry_of(model, shipped) if named else ""
            inside = shipped.get(example, {}) if named else shipped or {}
            others = " In addition to the keys above:" if described_keys & set(model.model_fields) - {"kind"} else ""
            yield f"{described(model)}{others}\n\n"
            yield from self.section(title, model, inside, joined(source, example), described_keys - {"kind"}, depth + 1)
            described_keys |= set(model.model_fields)

    def _introduced(self, source: str, model: type[BaseModel]) -> str:
        """The section's comment in params.yaml, unless its docstring says the same."""
        comment = self._comment_of.get(source, "")
        return f"{sentence(cell(comment))}.\n\n" if comment and not repeated(comment, described(model)) else ""

    def _table(self, model: type[BaseModel], names: list[str], shipped: Mapping[str, Any], source: str) -> str:
        schemas, elsewhere = model.model_json_schema(), ELSEWHERE.get(source, "")
        rows = [
            f"| `{name}`{'' if model.model_fields[name].is_required() else '*'} | "
            f"{words(schemas['properties'][name], schemas.get('$defs', {}))} | "
            f"{value_text(shipped, name)} | {cell(self._comment_of.get(f'{source}.{name}', elsewhere))} |\n"
            for name in names
        ]
        return "".join(["| key | type and bounds | shipped | what it does |\n|---|---|---|---|\n", *rows, "\n"])


def joined(*steps: str) -> str:
    """Keys joined by dots."""
    return ".".join(filter(None, steps))


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type: itself, values of a dictionary, or alternatives; [] for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return models_of(arguments[1])
    if origin is Annotated:
        return models_of(arguments[0])
    if origin in (Union, types.UnionType):
        return [model for argument in arguments for model in models_of(argument)]
    return []


def entry_of(model: type[BaseModel], entries: Mapping[str, Any]) -> str:
    """The name of the first shipped entry of this type; empty if there is none."""
    for name, entry in entries.items():
        try:
            TypeAdapter(model).validate_python(entry)
        except ValidationError:
            continue
        return name
    return ""


def described(model: type[BaseModel]) -> str:
    """A section's docstring as Markdown."""
    return linked(inspect.cleandoc(model.__doc__ or ""))


def linked(text: str) -> str:
    """Text in which the pages of docs/ are links."""
    return re.sub(r"\(?(docs/)(\w+\.md)\)?", r"([\2](\2))", text)


def repeated(comment: str, docstring: str) -> bool:
    """Whether a docstring has most of a comment's words."""
    words_of_comment, known = set(re.findall(r"\w+", comment.lower())), set(re.findall(r"\w+", docstring.lower()))
    return len(words_of_comment & known) > ALIKE * len(words_of_comment)


def value_text(shipped: Mapping[str, Any], name: str) -> str:
    """A shipped value, as in YAML."""
    if name not in shipped:
        return ""
    value = shipped[name]
    text = (
        {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)
    )
    if isinstance(value, dict | list):
        text = text.replace("'", "")
    if isinstance(value, float) and not 1e-3 <= abs(value) < 1e6 and value:
        text = f"{value:.1e}"
    return f"`{text or chr(34) * 2}`" if len(text) <= LONGEST_VALUE else "see params.yaml"


def cell(text: str) -> str:
    """A comment for a cell of a Markdown table."""
    return linked(plain(text)).replace("|", r"\|")


def plain(text: str) -> str:
    """Text with < and * escaped for Markdown."""
    return re.sub(r"([<*])", r"\\\1", text)


def sentence(text: str) -> str:
    """Text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def anchor(title: str) -> str:
    """The anchor of a heading, on code hosts and on the site."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    main()
