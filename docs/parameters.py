"""Write docs/parameters.md from schema and shipped params.yaml: `python -m docs.parameters`, which `make docs` runs."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from birdcache.params.load import Params
from birdcache.params.recipe import completed

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/parameters.md"
HEAD = """\
<!-- written by `make docs` from birdcache/params/ and params.yaml: change these, not this page -->

# Parameters

Everything that can be set stands in [params.yaml](../params.yaml), and every key has to be there: a key that is
missing, unknown, of another type or out of its bounds is refused before anything runs, all problems at once, each with
its way out. Units stand in the names: `_s` seconds, `_hz` hertz, `_db` decibels. *Shipped* is the value in the
`params.yaml` of the demo; `birdcache init` writes a file that fits your data.

A name in angle brackets is one that you choose: small letters, digits and `_`, a letter first. Which stages run again
after a change, `birdcache plan` says before anything runs.

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
}
DEEPEST = 4  # level of headings, whose titles are without what stands in those above
ALIKE = 24  # letters at the beginning by which two descriptions are the same
LONGEST_VALUE = 30  # longer values are shown in params.yaml only


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


def page() -> str:
    """The whole page, as Markdown."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    shipped = YAML(typ="safe", pure=True).load(text)
    shipped["train"] = {name: completed(name, shipped["train"]) for name in shipped["train"]}
    return HEAD + "".join(Reference(comments(text)).section("", Params, shipped, ""))


def comments(text: str) -> dict[str, str]:
    """What params.yaml says beside each key, with the lines that go on below it: dotted key -> comment."""
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
    """Writes sections; one that stands in several places is described in the first."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self._told, self._places = told, dict[type[BaseModel], str]()

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
        path : what the section is called here, such as `views.<view>`.
        source : where params.yaml has it, such as `views.mel`; empty for the whole file.
        without : keys that were described before.
        """
        inner = {name: models_of(field.annotation) for name, field in model.model_fields.items() if name not in without}
        leaves = [name for name, models in inner.items() if not models]
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
                yield f"The keys of [`{self._places[model]}`](#{anchor(self._places[model])}).\n\n"
                continue
            self._places[model] = title
            example = entry_of(model, shipped) if named else ""
            inside = shipped.get(example, {}) if named else shipped or {}
            others = " Beside the keys above:" if described_keys else ""
            yield f"{described(model)}{others}\n\n"
            yield from self.section(title, model, inside, joined(source, example), described_keys - {"kind"}, depth + 1)
            described_keys |= set(model.model_fields)

    def _introduced(self, source: str, model: type[BaseModel]) -> str:
        """What params.yaml says beside the section, unless its docstring says the same."""
        told = self._told.get(source, "")
        known = " ".join(described(model).lower().split())
        return f"{sentence(plain(told))}.\n\n" if told and told.lower()[:ALIKE] not in known else ""

    def _table(self, model: type[BaseModel], names: list[str], shipped: Mapping[str, Any], source: str) -> str:
        schemas = model.model_json_schema()
        rows = [
            f"| `{name}` | {words(schemas['properties'][name], schemas.get('$defs', {}))} | "
            f"{value_text(shipped, name)} | {cell(self._told.get(f'{source}.{name}', ''))} |\n"
            for name in names
        ]
        return "".join(["| key | type and bounds | shipped | what it does |\n|---|---|---|---|\n", *rows, "\n"])


def joined(*steps: str) -> str:
    """Keys with dots between them."""
    return ".".join(filter(None, steps))


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a type holds, by itself, as values of a dictionary or as alternatives; [] for plain values."""
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
    """The first of the shipped entries that is such a section; empty if there is none."""
    for name, entry in entries.items():
        try:
            TypeAdapter(model).validate_python(entry)
        except ValidationError:
            continue
        return name
    return ""


def described(model: type[BaseModel]) -> str:
    """A section's docstring as Markdown."""
    text = inspect.cleandoc(model.__doc__ or "")
    return re.sub(r"\(?(docs/)(\w+\.md)\)?", r"([\2](\2))", text)


def words(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Type and bounds of a JSON schema in words."""
    if "$ref" in schema:
        return words(known[schema["$ref"].rpartition("/")[2]], known)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(words(each, known) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {words(schema['items'], known)}{counted(schema)}"
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    kinds |= {"null": "`null`", "object": "keys and values"}
    kind = "name" if "pattern" in schema else kinds.get(schema.get("type", ""), "any value")
    return f"{kind}{bounds(schema)}"


def bounds(schema: Mapping[str, Any]) -> str:
    """The bounds of a number, as mathematics writes them."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    signs = ((low, "≥"), (above, ">"), (high, "≤"), (below, "<"))
    told = [f"{sign}\u00a0{limit:.12g}" for limit, sign in signs if limit is not None]
    return f" {', '.join(told)}" if told else ""


def counted(schema: Mapping[str, Any]) -> str:
    """How many items a list must have."""
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is None and most is None:
        return ""
    return f", {least or 0} to {most}" if most is not None else f", at least {least}"


def value_text(shipped: Mapping[str, Any], name: str) -> str:
    """A shipped value as YAML would write it."""
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
    """Text for a cell of a Markdown table."""
    return plain(text).replace("|", r"\|")


def plain(text: str) -> str:
    """Text in which < and * are themselves."""
    return re.sub(r"([<*])", r"\\\1", text)


def sentence(text: str) -> str:
    """Text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def anchor(title: str) -> str:
    """Where code hosts and the site put a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    main()
