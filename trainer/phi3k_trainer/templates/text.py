"""Text templates over the columns of a row, and their inverse for reading answers.

`Product: {title}, Full Price: {full_price:.2f}`: a column name in braces, after a colon a format as Python's format
mini-language has it; `{{` and `}}` are braces themselves. A name is only ever looked up among the columns.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

from phi3k_trainer.errors import DataError, RecipeError
from phi3k_trainer.templates.image_tags import literal
from phi3k_trainer.templates.values import FORMAT_SPEC, NUMBER_TYPES, FormatError, format_value

MAX_CHARACTERS = 1_000_000
"""A longer text is refused: no tokenizer is asked to read what no context could hold."""

_PIECE = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}:]*)(?::(?P<spec>[^{}]*))?\}|[{}]")


class MissingValueError(DataError):
    """A row has no value in a column that a template uses."""

    def __init__(self, column: str) -> None:
        """Keep the name of the column."""
        super().__init__(f"no value in column '{column}'")
        self.column = column


@dataclass(frozen=True)
class _Field:
    name: str
    spec: str

    def format(self, value: object) -> str:
        """The value as it stands in the text; image tags in it are made harmless."""
        try:
            text = format_value(value, self.spec)
        except FormatError as error:
            raise DataError(f"column '{self.name}' {error}") from error
        if text is None or not text.strip():
            raise MissingValueError(self.name)
        return literal(text)


class Template:
    """A text with columns in braces.

    Args:
        text: For example `Product: {title}, Price: {price:.2f}`.

    Raises:
        RecipeError: when a brace stands alone, a name is empty, or a format is none.
    """

    def __init__(self, text: str) -> None:
        """Parse `text`."""
        self.text = text
        self._literals, self._fields = _parse(text)
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(field.name for field in self._fields))
        """The columns in order of first use."""

    def __repr__(self) -> str:
        """The template as it is written in a recipe."""
        return f"Template({self.text!r})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are used."""
        return self.fields

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Those of them that must hold a value in every row: all."""
        return self.fields

    def gives_number(self, columns: Mapping[str, object]) -> bool:
        """Whether the text is one column and nothing else, which holds a number or is formatted as one."""
        if len(self._fields) != 1 or any(self._literals):
            return False
        field = self._fields[0]
        value = columns.get(field.name)
        return field.spec.endswith(NUMBER_TYPES) or (isinstance(value, Real | Decimal) and not isinstance(value, bool))

    def values(self, columns: Mapping[str, object]) -> dict[str, str]:
        """What `parse` reads back from `render(columns)`: for each field its text.

        Raises:
            DataError: as `render`.
        """
        texts: dict[str, str] = {}
        for field, text in zip(self._fields, self._texts(columns), strict=True):
            texts.setdefault(field.name, text)
        return texts

    def render(self, columns: Mapping[str, object]) -> str:
        """Put the values of one row into the template.

        Raises:
            MissingValueError: when a value is None, NaN or blank.
            DataError: when a column is not there, holds what its format doesn't take, or the text is longer than
                `MAX_CHARACTERS`.
        """
        texts = self._texts(columns)
        return self._literals[0] + "".join(
            text + between for text, between in zip(texts, self._literals[1:], strict=True)
        )

    def parse(self, answer: str) -> dict[str, str] | None:
        """Read the fields back from a text: the inverse of `render`.

        Each field ends where the text that follows it in the template first appears. None when `answer` doesn't
        have the template's form.

        Raises:
            RecipeError: when two fields stand side by side, so that nothing tells where one ends.
        """
        first, *between = self._literals
        if not all(between[:-1]):
            raise RecipeError(f"the answer '{self.text}' has two columns side by side: put text between them")
        if not self._fields:
            return {} if answer == first else None
        if not answer.startswith(first) or not answer.endswith(between[-1]):
            return None
        stop = len(answer) - len(between[-1])
        found: dict[_Field, str] = {}
        position = len(first)
        for field, following in zip(self._fields, [*between[:-1], ""], strict=True):
            end = answer.find(following, position + 1, stop) if following else stop
            if end <= position or found.setdefault(field, answer[position:end]) != answer[position:end]:
                return None
            position = end + len(following)
        fields: dict[str, str] = {}
        for field, text in found.items():
            fields.setdefault(field.name, text)
        return fields

    def _texts(self, columns: Mapping[str, object]) -> list[str]:
        if absent := [name for name in self.fields if name not in columns]:
            there = ", ".join(sorted(columns)) or "none"
            raise DataError(f"no column named {', '.join(map(repr, absent))} for '{self.text}'; there are: {there}")
        texts = [field.format(columns[field.name]) for field in self._fields]
        if (length := sum(map(len, texts)) + sum(map(len, self._literals))) > MAX_CHARACTERS:
            raise DataError(f"'{self.text}' would have {length:,} characters, more than {MAX_CHARACTERS:,}")
        return texts


def _parse(text: str) -> tuple[list[str], list[_Field]]:
    """The n + 1 stretches of plain text around n fields, and the fields."""
    literals, fields = [""], []
    position = 0
    for match in _PIECE.finditer(text):
        literals[-1] += text[position : match.start()]
        position = match.end()
        name, spec = match["name"], match["spec"] or ""
        if match.group() in ("{{", "}}"):
            literals[-1] += match.group()[0]
        elif name is None:
            raise RecipeError(f"'{text}': a lone '{match.group()}' at character {match.start() + 1}; write it twice")
        elif not name.strip():
            raise RecipeError(f"'{text}': a column name is missing in '{match.group()}'")
        elif not FORMAT_SPEC.fullmatch(spec):
            raise RecipeError(f"'{text}': '{spec}' is not a format for column '{name}'; one is '.2f'")
        else:
            fields.append(_Field(name, spec))
            literals.append("")
    literals[-1] += text[position:]
    return literals, fields
