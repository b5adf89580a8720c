"""Partial recipes under a recipe: the values in force, and the document that each of them comes from.

Which files these are is not known here: the command line finds them, and a pod has none.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from phi3k_trainer.recipe.yaml_reader import Document, KeyPath


@dataclass(frozen=True)
class Layer:
    """The text of a partial recipe."""

    origin: str
    """The file, for messages."""
    text: str


@dataclass(frozen=True, order=True)
class Place:
    """Where a value is written."""

    order: int
    """Number of the document: the value from the document with the greatest number is in force."""
    line: int
    """Counted from 1."""
    origin: str


@dataclass(frozen=True)
class Layered:
    """Documents laid over each other: the values in force, and where each of them is written."""

    values: dict[str, object]
    places: dict[KeyPath, Place]


@dataclass(frozen=True)
class Origins:
    """Where the values of a recipe in force come from."""

    places: Mapping[KeyPath, Place]
    set_by: dict[KeyPath, str]
    """The option of the command line that set a value, by its path; later ones last."""

    def of(self, path: KeyPath) -> str:
        """Return the option, `FILE:LINE`, or `built in`."""
        for set_path, option in reversed(self.set_by.items()):
            if path[: len(set_path)] == set_path:
                return option
        place = self.places.get(path)
        return f"{place.origin}:{place.line}" if place else "built in"


def lay_over(below: Layered, document: Document, origin: str, recipe: type[BaseModel]) -> Layered:
    """Return the document's values over those below: mappings are merged by key, anything else replaces.

    `null` where the field can't be null removes the value below, so that the built-in default is in force again.
    """
    above = document.value if isinstance(document.value, dict) else {}
    values, replaced, removed = _merged(below.values, above, (), recipe)
    order = max((place.order for place in below.places.values()), default=0) + 1
    places = {path: place for path, place in below.places.items() if not _is_under(path, replaced)}
    places |= {
        path: Place(order, line, origin) for path, line in document.lines.items() if not _is_under(path, removed)
    }
    return Layered(values, places)


def _merged(
    below: Mapping[str, object], above: Mapping[str, object], path: KeyPath, recipe: type[BaseModel]
) -> tuple[dict[str, object], set[KeyPath], set[KeyPath]]:
    """The values in force, the paths that lost what was below, and those of them that have nothing now."""
    values = dict(below)
    replaced: set[KeyPath] = set()
    removed: set[KeyPath] = set()
    for key, value in above.items():
        here, under = (*path, key), below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            values[key], inside, without = _merged(under, value, here, recipe)
            replaced |= inside
            removed |= without
            continue
        values[key] = value
        if key in below:
            replaced.add(here)
            if value is None and not takes_null(recipe, here):
                removed.add(here)
                del values[key]
    return values, replaced, removed


def _is_under(path: KeyPath, roots: set[KeyPath]) -> bool:
    return any(path[:end] in roots for end in range(1, len(path) + 1))


def takes_null(annotation: Any, path: KeyPath) -> bool:
    """Return whether `null` is a value at `path` below a section or another type."""
    if annotation is Any:
        return True
    kind, inside = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return takes_null(inside[0], path)
    if kind in (types.UnionType, Union):
        return any(takes_null(member, path) for member in inside)
    if not path:
        return annotation is type(None)
    if kind is dict:
        return takes_null(inside[1], path[1:])
    if kind is tuple:
        return takes_null(inside[0], path[1:])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(path[0]))
        return field is not None and takes_null(field.annotation, path[1:])
    return False
