"""Generates a catalogue with the structure and diversity of a real table, and none of its rows."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product as combinations
from pathlib import Path
from typing import Any

import pyarrow as pa

from phi3k_trainer.data.sample.catalogue import picture_location, write_picture
from phi3k_trainer.data.sample.drawing import draw_view, render
from phi3k_trainer.data.sample.garments import EXTENDED_KINDS, Kind
from phi3k_trainer.data.sample.product import (
    COLORS,
    DISCOUNT_FACTOR,
    GLOSSY_SHARE,
    LOGO_SHARE,
    PATTERN_FACTORS,
    Product,
)
from phi3k_trainer.data.tables.columns import Column, Value, is_image, read_columns, read_table
from phi3k_trainer.data.tables.learning import Group, Structure, learn
from phi3k_trainer.data.tables.table import TABLE_NAME, write_once, write_table

FORMAT = 1
INVENTED = {"brand": "SAMPLE BRAND", "website": "Sample Shop", "currency": "XT", "seller": "Sample Seller"}
"""Columns with such a word in their name get invented values instead of the real ones."""
STYLES = (
    "Cropped", "Long", "Slim", "Relaxed", "Classic", "Vintage", "Lightweight", "Belted", "Double", "Soft", "Tailored",
    "Reversible", "Hooded", "Embroidered", "Oversized", "Heritage", "Weekend", "Evening", "City", "Country",
)  # fmt: skip
"""Words that bring a text to the length of the real ones."""
UNITS_A_CODE = 7


def write_catalogue_like(real: Path, rows: int, seed: int, directory: Path, *, image_size: int = 336) -> Path:
    """Writes `rows` invented rows with the columns of the table `real`, and a picture of `image_size` pixels for each.

    Kept: columns and types, frequencies of categories and of their combinations (those in at least five rows),
    quantiles of numbers within them (without the outermost per cent), lengths of texts, missing rates. Invented:
    brands, websites, currencies, every text, address and identifier. The more expensive a product within its group,
    the more expensive it looks, so the price can be learned from the picture.

    Raises:
        MissingInputError: there is no table.
        DataError: it is not a table, or has too few rows to learn from.
        OutputError: the directory holds something else.
        StorageError: writing failed.
    """
    columns = read_columns(real)
    schema = _schema(real)
    made_from = {"format": FORMAT, "like": _fingerprint(columns), "rows": rows, "seed": seed, "image_size": image_size}

    def write(unfinished: Path) -> None:
        writer = _Generator(learn(columns), columns, seed, unfinished, image_size)
        write_table((writer.row(index) for index in range(rows)), unfinished / TABLE_NAME, schema)

    return write_once(directory, made_from, write)


def _schema(real: Path) -> pa.Schema:
    return read_table(real).schema.remove_metadata()


def _fingerprint(columns: Mapping[str, Column]) -> str:
    digest = hashlib.sha256()
    for column in columns.values():
        digest.update(repr((column.name, column.type, column.values)).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Look:
    """Features that make a product more expensive, and the ranks within its group that have them."""

    pattern: str
    glossy: bool
    logo: bool
    lowest_rank: float
    share: float


def looks() -> list[_Look]:
    """All looks from the plainest to the most expensive; their ranks fill the range from 0 to 1."""
    kind = EXTENDED_KINDS[0]
    found = [Product(kind, "Red", *choice, discounted=False) for choice in combinations(PATTERN_FACTORS, *_BOTH)]
    listed: list[_Look] = []
    rank = 0.0
    for one in sorted(found, key=lambda product: product.dearness):
        share = (GLOSSY_SHARE if one.glossy else 1 - GLOSSY_SHARE) * (LOGO_SHARE if one.logo else 1 - LOGO_SHARE)
        share /= len(PATTERN_FACTORS)
        listed.append(_Look(one.pattern, one.glossy, one.logo, rank, share))
        rank += share
    return listed


_BOTH = ((False, True), (False, True))


class _Generator:
    """Draws rows from a structure. Row i depends on the structure, the seed and i alone."""

    def __init__(
        self, structure: Structure, real: Mapping[str, Column], seed: int, directory: Path, image_size: int
    ) -> None:
        self._structure = structure
        self._seed = seed
        self._directory = directory
        self._image_size = image_size
        self._forbidden = {
            name: {str(value) for value in real[name].present}
            for name, _, kind in structure.columns
            if kind in {"text", "address", "identifier"}
        }
        self._code_base = _code_base(structure, real)
        self._invented = {
            name: _invented_names(name, real[name]) for name, _, kind in structure.columns if kind == "category"
        }
        self._kind_of = _kinds_of_groups(structure)
        self._looks = looks()

    def row(self, index: int) -> dict[str, Any]:
        """Row `index`; writes its picture."""
        rng = random.Random(f"{self._seed}/like/{index}")
        structure = self._structure
        groups = list(structure.groups)
        (group,) = rng.choices(groups, weights=[structure.groups[group] for group in groups])
        look = rng.choices(self._looks, weights=[look.share for look in self._looks])[0]
        numbers, discounted = self._numbers(group, look, rng)
        product = Product(
            self._kind_of[group], rng.choice(tuple(COLORS)), look.pattern, look.glossy, look.logo, discounted
        )
        location = picture_location(index)
        row: dict[str, Any] = {}
        for name, written_as, kind in structure.columns:
            value = self._value(name, kind, index, group, product, numbers, rng)
            row[name] = round(value) if isinstance(value, float) and "int" in written_as else value
        if any(is_image(name, kind) for name, _, kind in structure.columns):
            write_picture(self._directory / location, render(product, draw_view(rng), self._image_size))
        return row

    def _numbers(self, group: Group, look: _Look, rng: random.Random) -> tuple[dict[str, float], bool]:
        """The numeric columns of a row, and whether one of them lies well below its usual ratio to the price."""
        structure = self._structure
        rank, ratio_rank = look.lowest_rank + rng.random() * look.share, rng.random()
        drawn: dict[str, float] = {}
        discounted = False
        anchor = structure.numbers[structure.anchor].draw(group, rank, 1.0) if structure.anchor else 1.0
        for name, model in structure.numbers.items():
            if name == structure.anchor:
                drawn[name] = anchor
            elif model.is_ratio:
                drawn[name] = model.draw(group, ratio_rank, anchor)
                usual = model.overall.at(1.0) * anchor
                discounted = discounted or drawn[name] < usual * (1 + DISCOUNT_FACTOR) / 2
            else:
                drawn[name] = model.draw(group, rng.random(), 1.0)
        return drawn, discounted

    def _value(
        self,
        name: str,
        kind: str,
        index: int,
        group: Group,
        product: Product,
        numbers: Mapping[str, float],
        rng: random.Random,
    ) -> object:
        structure = self._structure
        missing_rate, missing_value = structure.missing[name]
        if name in structure.group_columns:
            value = group[structure.group_columns.index(name)]
            return self._invented[name].get(value, value) if value is not None else None
        if kind == "other" or rng.random() < missing_rate:
            return missing_value
        if kind == "category":
            choices = structure.categories[name]
            if not choices:
                return None
            (chosen,) = rng.choices(list(choices), weights=list(choices.values()))
            return self._invented[name].get(chosen, chosen)
        if kind == "number":
            return numbers[name]
        if kind == "identifier":
            return self._code(name, index)
        if is_image(name, kind):
            return picture_location(index)
        return self._text(name, kind, index, product, rng)

    def _code(self, name: str, index: int) -> int:
        """A new code with as many digits as the real ones."""
        code = self._code_base[name] + UNITS_A_CODE * index
        while str(code) in self._forbidden[name]:
            code += 1  # real codes are sparse; UNITS_A_CODE leaves room before the next row's code
        return code

    def _text(self, name: str, kind: str, index: int, product: Product, rng: random.Random) -> str:
        """A new text about as long as a real one."""
        target = round(self._structure.lengths[name].at(rng.random()))
        for attempt in range(len(STYLES)):
            text = _fitted(product, target, rng)
            if kind == "address":
                slug = text.lower().replace(" ", "-")
                text = f"https://shop.example/{slug}-{index}"
            if attempt:
                text = f"{text} {rng.choice(STYLES)}"
            if text not in self._forbidden[name]:
                return text
        return f"{text} {index}"


def _fitted(product: Product, target: int, rng: random.Random) -> str:
    """The product's title with words added in front or left out until it is about `target` characters long."""
    words = product.title.split()
    while len(words) > 1 and len(" ".join(words)) - len(words[0]) / 2 > target:
        words.pop(0)
    styles = rng.sample(STYLES, len(STYLES))
    while styles and len(" ".join([styles[-1], *words])) - len(styles[-1]) / 2 <= target:
        words.insert(0, styles.pop())
    return " ".join(words)


def _invented_names(name: str, column: Column) -> dict[Value, Value]:
    """New names for the values of a column that would reveal whose data it is, by falling frequency."""
    if not column.present or not isinstance(column.present[0], str):
        return {}
    stem = next((invented for word, invented in INVENTED.items() if word in name.lower()), None)
    if stem is None:
        return {}
    ordered = [value for value, _ in column.counts.most_common()]
    return {value: f"{stem}{'' if stem == 'XT' else ' '}{number + 1}" for number, value in enumerate(ordered)}


def _code_base(structure: Structure, real: Mapping[str, Column]) -> dict[str, int]:
    """Where the invented identifiers start: a round number with as many digits as the real ones."""
    bases: dict[str, int] = {}
    for name, _, kind in structure.columns:
        if kind == "identifier":
            digits = len(str(abs(int(max(real[name].numbers)))))
            bases[name] = 10 ** (digits - 1)
    return bases


def _kinds_of_groups(structure: Structure) -> dict[Group, Kind]:
    """A garment kind for each group: the one it names, else one of them in turn, the same for equal words."""
    in_turn: dict[str, Kind] = {}
    found: dict[Group, Kind] = {}
    for group in structure.groups:
        words = " ".join(str(value).upper() for value in group if isinstance(value, str))
        named = next((kind for kind in EXTENDED_KINDS if kind.category in words or kind.name.upper() in words), None)
        found[group] = named or in_turn.setdefault(words, EXTENDED_KINDS[len(in_turn) % len(EXTENDED_KINDS)])
    return found
