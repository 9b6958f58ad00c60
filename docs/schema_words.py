"""Types and bounds of a JSON schema, in words."""

import re
from collections.abc import Mapping
from typing import Any

from birdcache.params.sections import LARGEST


def words(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Type and bounds of a JSON schema, in words."""
    if "$ref" in schema:
        return words(known[schema["$ref"].rpartition("/")[2]], known)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(words(each, known) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {plural(words(schema['items'], known))}{counted(schema)}"
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    kinds |= {"null": "`null`", "object": "keys and values"}
    kind = "name" if "pattern" in schema else kinds.get(schema.get("type", ""), "any value")
    return f"{kind}{bounds(schema)}"


def plural(kind: str) -> str:
    """The kind of a list's items."""
    return re.sub(r"^any value$", "values", re.sub(r"^(whole number|number|name)\b", r"\1s", kind))


def bounds(schema: Mapping[str, Any]) -> str:
    """The bounds of a number, in mathematical notation."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    signs = ((low, "≥"), (above, ">"), (high, "≤"), (below, "<"))
    found = [f"{sign}\u00a0{limit:.12g}" for limit, sign in signs if limit is not None and abs(limit) != LARGEST]
    return f" {', '.join(found)}" if found else ""


def counted(schema: Mapping[str, Any]) -> str:
    """The number of items that a list must have."""
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is None and most is None:
        return ""
    if least == most:
        return f", {most} of them"
    return f", {least or 0} to {most}" if most is not None else f", at least {least}"
