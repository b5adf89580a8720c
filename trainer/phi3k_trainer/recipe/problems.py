"""Turns pydantic's findings into sentences a user can act on: where, what is wrong, and the nearest valid name."""

import difflib
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from phi3k_trainer.recipe.yaml_reader import KeyPath


def section_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The section that the mapping at `path` is read into, or None where it is not one."""
    is_free_key = False
    for part in path:
        field = model.model_fields.get(str(part))
        if isinstance(part, int) or is_free_key:
            is_free_key = False
            continue
        is_free_key = field is not None and get_origin(field.annotation) is dict
        section = _section_of(field.annotation) if field else None
        if section is None:
            return None
        model = section
    return model


def is_free_mapping(model: type[BaseModel], path: KeyPath) -> bool:
    """Whether the value at `path` is a mapping whose keys the user chooses, such as cluster.node_selector."""
    section = section_at(model, path[:-1]) if path else None
    field = section.model_fields.get(str(path[-1])) if section else None
    return field is not None and get_origin(field.annotation) is dict


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `TolerationSection`, `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, dict, types.UnionType, Annotated):
        return next((found for part in get_args(annotation) if (found := _section_of(part))), None)
    return None


def dotted_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of the recipe by its dotted name, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = _section_of(field.annotation)
        if section:
            yield from dotted_names(section, f"{prefix}{name}.")


def nearest(name: str, valid: Sequence[str]) -> str | None:
    """The valid name that is most similar to `name`, if one is similar at all."""
    matches = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_key(recipe: type[BaseModel], path: KeyPath) -> str:
    """The message about an unknown key: the same name elsewhere, else a similar one here, else one elsewhere."""
    key = str(path[-1])
    section = section_at(recipe, path[:-1]) or recipe
    here = list(section.model_fields)
    leaves = {name.rpartition(".")[2]: name for name in dotted_names(recipe)}
    near = leaves.get(key) or nearest(key, here)
    if near is None:
        leaf = nearest(key, list(leaves))
        near = leaves[leaf] if leaf else None
    if near is None:
        return f"unknown key; valid here: {', '.join(here)}"
    return f"unknown key; did you mean {near}?"


def place(error: ErrorDetails, value: object) -> KeyPath:
    """The path of an error in the document: pydantic's location without the names of union members."""
    path: list[str | int] = []
    for part in error["loc"]:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if not inside:
            if error["type"] == "missing":
                path.append(part)
            break
        value = value[part]  # type: ignore[index]
        path.append(part)
    return tuple(path)


def explain(errors: Sequence[ErrorDetails], recipe: type[BaseModel], path: KeyPath) -> str:
    """What is wrong with the value at `path`, in words; several findings are those of the members of a union."""
    error = errors[0]
    kind, value = error["type"], error["input"]
    # A value there may be a secret.
    shown = "what is there" if path[:2] == ("cluster", "env") else _shown(value)
    if kind == "extra_forbidden":
        return unknown_key(recipe, path)
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "model_type":
        return f"should be a mapping of keys, not {shown}"
    if kind == "literal_error":
        expected = error["ctx"]["expected"]
        message = f"should be one of {expected}, not {_shown(value)}"
        near = nearest(str(value), [part.strip(" '") for part in expected.replace(" or ", ",").split(",")])
        return f"{message}; did you mean {near}?" if near else message
    expectations = dict.fromkeys(_expectation(error["msg"]) for error in errors)
    return f"should {' or '.join(expectations)}, not {shown}"


def _expectation(message: str) -> str:
    """`Input should be a valid tuple` -> `be a list`."""
    return message.rpartition("should ")[2].replace("valid tuple", "list").replace("valid dictionary", "mapping")


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
