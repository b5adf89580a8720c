"""The reference of all fields of a recipe, made from its schema."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from phi3k_trainer.recipe import recipe_schema

INTRODUCTION = """\
# Recipe reference

<!-- Made by `phi3k recipe reference > docs/recipe.md`; a test keeps it current. -->

One YAML document says everything about a run. Unknown keys are errors that name the nearest valid key. Scalars are
those of YAML 1.2: `2e-4` is a number, `on` and `no` are text. Any field can be set from the command line:
`--set training.learning_rate=1e-4`. `phi3k recipe show RECIPE` prints all fields in force, `phi3k recipe schema` the
JSON schema for editors. What every recipe of yours repeats can be [written once](defaults.md).
"""

LIMITS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
}

Schema = Mapping[str, Any]


def recipe_reference() -> str:
    """Markdown with a table for each section, in the order of the recipe."""
    schema = recipe_schema()
    return INTRODUCTION + "".join(_section("", schema, schema["$defs"]))


def _section(prefix: str, section: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    title = f"`{prefix}`" if prefix else "Top level"
    yield f"\n## {title}\n\n{section['description']}\n\n| Field | Type | Default | |\n|---|---|---|---|\n"
    required = section.get("required", [])
    inner: list[tuple[str, Schema]] = []
    for name, field in section["properties"].items():
        default = "required" if name in required else _default(field, definitions)
        kind = _kind(field, definitions)
        yield f"| `{name}` | {kind} | {default} | {_cell(field.get('description', ''))} |\n"
        reference = _reference(field)
        if reference:
            inner.append((f"{prefix}.{name}".lstrip("."), definitions[reference]))
    for name, definition in inner:
        yield from _section(name, definition, definitions)


def _reference(field: Schema) -> str | None:
    """The name of the section that a field (or each item of its list or mapping) is."""
    inside = field.get("items") or field.get("additionalProperties") or field
    target = inside.get("$ref") if isinstance(inside, dict) else None
    return str(target).rpartition("/")[2] if target else None


def _default(field: Schema, definitions: Mapping[str, Schema]) -> str:
    reference = _reference(field)
    if reference and "$ref" in field:
        own = field.get("default", {})
        properties = definitions[reference]["properties"]
        different = {key: value for key, value in own.items() if properties[key].get("default", {}) != value}
        return f"`{json.dumps(different)}`" if different else "see below"
    return f"`{json.dumps(field.get('default', {}), ensure_ascii=False)}`"


def _kind(field: Schema, definitions: Mapping[str, Schema]) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(option, definitions) for option in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "section"
    if field.get("type") == "array":
        items = field.get("items") or field["prefixItems"][0]
        return f"list of {_kind(items, definitions)}"
    if field.get("type") == "object":
        return "mapping of text to sections" if _reference(field) else "mapping of text to text"
    names = {"string": "text", "boolean": "true or false"}
    kind = str(field["type"])
    return names.get(kind, kind) + _limits(field)


def _limits(field: Schema) -> str:
    limits = [f"{sign} {field[key]:.10g}" for key, sign in LIMITS.items() if key in field]
    return f" {', '.join(limits)}" if limits else ""


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")
