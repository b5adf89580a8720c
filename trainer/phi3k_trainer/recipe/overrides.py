"""`--set a.b=c`: one field of a recipe, from the command line."""

from collections.abc import Mapping

from pydantic import BaseModel

from phi3k_trainer.recipe.problems import section_at
from phi3k_trainer.recipe.yaml_reader import KeyPath, read_yaml


class OverrideError(ValueError):
    """An override that can't be read or has no place to go."""


def parse_override(text: str, recipe: type[BaseModel]) -> tuple[KeyPath, object]:
    """Split `a.b=value` into its path and its value, which is read as YAML (nothing after the sign: null).

    Below a mapping of free keys, such as cluster.node_selector, the rest of the name is one key: it may hold dots.
    Raises OverrideError.
    """
    name, sign, value_text = text.partition("=")
    parts = name.strip().split(".")
    if not sign or not all(parts):
        raise OverrideError("should be written as section.field=value")
    path: KeyPath = tuple(parts)
    for end in range(1, len(parts)):
        section = section_at(recipe, path[: end - 1])
        field = section.model_fields.get(parts[end - 1]) if section else None
        if field is not None and getattr(field.annotation, "__origin__", None) is dict:
            path = (*parts[:end], ".".join(parts[end:]))
            break
    document = read_yaml(value_text)
    if document.problems:
        raise OverrideError(document.problems[0].message)
    return path, document.value


def set_value(document: Mapping[str, object], path: KeyPath, value: object) -> dict[str, object]:
    """A copy of the document with one value set, sections on the way made where they are missing or null.

    Raises OverrideError where the way leads through something that is not a mapping.
    """
    key, rest = str(path[0]), path[1:]
    if not rest:
        return {**document, key: value}
    inner = document.get(key)
    if inner is None:
        inner = {}
    if not isinstance(inner, dict):
        raise OverrideError(f"{key} is {'a list' if isinstance(inner, list) else 'a plain value'}: set it as a whole")
    return {**document, key: set_value(inner, rest, value)}
