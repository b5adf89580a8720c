"""Answers that are one JSON object, written from the columns of a row, and their inverse.

Each key has a text template. A key that ends in `?` is left out where a row has no value for it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from phi3k_trainer.errors import DataError, RecipeError
from phi3k_trainer.templates.text import MAX_CHARACTERS, MissingValueError, Template

OPTIONAL = "?"

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


class JsonTemplate:
    """A JSON object with a text template for each key.

    A template that is one column and nothing else gives a number where the column holds a number or the format is
    one of numbers (`{price:.2f}`). Everything else is text, also a number in a text column: `007` stays as it is.

    Args:
        templates: For each key its template, such as `{"title": "{title}", "colour?": "{colour}"}`.

    Raises:
        RecipeError: there is no key, a key is empty or stands there twice, or a template has a mistake.
    """

    def __init__(self, templates: Mapping[str, str]) -> None:
        """Parse the templates."""
        if not templates:
            raise RecipeError("json has no keys: give at least one, such as title: '{title}'")
        self._templates: dict[str, Template] = {}
        self._optional: set[str] = set()
        for written, text in templates.items():
            key = written.removesuffix(OPTIONAL)
            if not key:
                raise RecipeError(f"json: '{written}' is not a key")
            if key in self._templates:
                raise RecipeError(f"json has the key '{key}' twice, with and without '{OPTIONAL}'")
            self._templates[key] = _template(written, text)
            if key != written:
                self._optional.add(key)
        self.columns = _columns(self._templates.values())
        """The columns that are used, in order of first use."""
        self.needed_columns = _columns(one for key, one in self._templates.items() if key not in self._optional)
        """Those of them that must hold a value in every row."""

    def values(self, columns: Mapping[str, object]) -> dict[str, str]:
        """What `parse` reads back from `render(columns)`: the text for each key, empty for a key that is left out.

        Raises:
            DataError: as `render`.
        """
        return {key: "" if value is None else value[0] for key, value in self._values(columns).items()}

    def render(self, columns: Mapping[str, object]) -> str:
        """Write the object of one row, on one line, in the order of the recipe.

        Raises:
            MissingValueError: a key that is not optional has no value.
            DataError: as `Template.render`, or the object is longer than `MAX_CHARACTERS`.
        """
        pairs = [
            f"{_quoted(key)}: {value[0] if value[1] else _quoted(value[0])}"
            for key, value in self._values(columns).items()
            if value is not None
        ]
        text = "{" + ", ".join(pairs) + "}"
        if len(text) > MAX_CHARACTERS:
            raise DataError(f"the JSON answer would have {len(text):,} characters, more than {MAX_CHARACTERS:,}")
        return text

    def parse(self, answer: str) -> dict[str, str] | None:
        """Read the keys back from a text; other keys, other spaces and another order are accepted.

        A number stays as it is written. An optional key that the answer leaves out is empty; any other key that it
        leaves out is absent. None when `answer` is not a JSON object, or has a key twice.
        """
        try:
            found = json.loads(
                answer, parse_int=_Number, parse_float=_Number, parse_constant=_refuse, object_pairs_hook=_object
            )
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        fields: dict[str, str] = {}
        for key in self._templates:
            if key in found:
                value = found[key]
                fields[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            elif key in self._optional:
                fields[key] = ""
        return fields

    def _values(self, columns: Mapping[str, object]) -> dict[str, tuple[str, bool] | None]:
        """For each key its text and whether it is a number; None where the key is left out."""
        values: dict[str, tuple[str, bool] | None] = {}
        for key, template in self._templates.items():
            try:
                text = template.render(columns)
            except MissingValueError:
                if key not in self._optional:
                    raise
                values[key] = None
                continue
            is_number = template.gives_number(columns) and _NUMBER.fullmatch(text) is not None
            values[key] = (text, is_number)
        return values


class _Number(str):
    """A number of a JSON text, as it is written there."""


def _template(key: str, text: str) -> Template:
    try:
        return Template(text)
    except RecipeError as error:
        raise RecipeError(f"json.{key}: {error}") from error


def _columns(templates: Iterable[Template]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for template in templates for name in template.fields))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found
