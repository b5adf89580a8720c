"""Draws what a data set holds as one HTML page: prices, categories, words or tokens, picture sizes, samples."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from phi3k_trainer.data.tables.columns import Column, is_image, is_missing, read_columns
from phi3k_trainer.errors import DataError, MissingInputError, StorageError
from phi3k_trainer.files import read_document
from phi3k_trainer.images.decode import decode_image, image_header
from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.page.charts import Spread, bar_chart, histogram, spread_chart
from phi3k_trainer.page.html import Html, Section, columns, element, facts, gallery, join, page, table, thumbnail

MOST_BARS = 20
MOST_CHARTS = 6
MOST_HEADERS = 3000
"""Pictures whose size is read, spread evenly over the rows."""
SAMPLES = 18
MAX_PIXELS = 89_000_000


def write_data_report(path: Path, destination: Path, tokenizer: Path | None = None) -> Path:
    """Writes the report about the table at `path` (as `read_columns` takes it) to `destination`.

    Texts are measured in tokens of `tokenizer` (a directory with a tokenizer.json), else in words. Pictures are
    looked at where they are files; URLs are not fetched.

    Raises:
        MissingInputError: the table or the tokenizer is not there.
        DataError: the table is not one, or has no rows.
        StorageError: the page can't be written.
    """
    listed = read_columns(path)
    root = path if path.is_dir() else path.parent
    rows = len(next(iter(listed.values())).values)
    pictures = _look_at_pictures(listed, root)
    sections = [
        Section("Overview", _overview(listed, rows, pictures)),
        Section("Prices and other numbers", _numbers(listed), "Hover a bar or a box for its figures."),
        Section("Categories", _categories(listed), f"The {MOST_BARS} most frequent values of each column."),
        Section("Texts", _texts(listed, *_measure(tokenizer))),
        Section("Pictures", _pictures(pictures), pictures.remark),
        Section("Columns", _column_table(listed)),
    ]
    document = page(f"Data report: {path.name}", sections, subtitle=f"{rows:,} rows, {len(listed)} columns")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(document, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"writing {destination} failed: {error}") from error
    return destination


@dataclass(frozen=True)
class _Pictures:
    sizes: Sequence[tuple[int, int]]
    unreadable: int
    remote: int
    samples: Sequence[tuple[Image.Image, str]]

    @property
    def remark(self) -> str:
        parts = [f"Sizes of {len(self.sizes):,} pictures."] if self.sizes else []
        parts += [f"{self.unreadable:,} could not be read."] if self.unreadable else []
        parts += [f"{self.remote:,} are behind URLs and were not fetched."] if self.remote else []
        return " ".join(parts) or "No picture column."


def _look_at_pictures(listed: Mapping[str, Column], root: Path) -> _Pictures:
    column = next((column for column in listed.values() if is_image(column.name, column.kind)), None)
    if column is None:
        return _Pictures((), 0, 0, ())
    found = [(row, str(value)) for row, value in enumerate(column.values) if not is_missing(value)]
    local = [(row, value) for row, value in found if "://" not in value]
    sizes: list[tuple[int, int]] = []
    samples: list[tuple[Image.Image, str]] = []
    unreadable = 0
    chosen = local[:: max(1, len(local) // MOST_HEADERS)]
    sampled = {row for row, _ in chosen[:: max(1, len(chosen) // SAMPLES)][:SAMPLES]}
    for row, value in chosen:
        try:
            data = read_document(root / value)
            sizes.append(image_header(data)[1:])
            if row in sampled:
                samples.append((decode_image(data, max_pixels=MAX_PIXELS), _caption(listed, row)))
        except (OSError, ImageError):
            unreadable += 1
    return _Pictures(sizes, unreadable, len(found) - len(local), samples)


def _caption(listed: Mapping[str, Column], row: int) -> str:
    """The row's text and its price, or the columns closest to them."""
    texts = [column for column in listed.values() if column.kind == "text" and not is_image(column.name, column.kind)]
    numbers = [column for column in listed.values() if column.kind == "number"]
    return ", ".join(str(column.values[row]) for column in (*texts[:1], *numbers[:1]))


def _overview(listed: Mapping[str, Column], rows: int, pictures: _Pictures) -> Html:
    missing = sum(len(column.values) - len(column.present) for column in listed.values())
    category, price = _main_category(listed), _main_number(listed)
    shown: dict[str, object] = {"Rows": rows, "Columns": len(listed), "Missing values": missing}
    if category:
        shown[f"Values of {category.name}"] = len(category.counts)
    if price:
        shown[f"Median {price.name}"] = float(np.median(price.numbers))
    if pictures.sizes:
        (width, height), _ = Counter(pictures.sizes).most_common(1)[0]
        shown["Most frequent size"] = f"{width} x {height}"
    return facts(shown)


def _main_category(listed: Mapping[str, Column]) -> Column | None:
    """The finest category column."""
    categories = [column for column in listed.values() if column.kind == "category" and len(column.counts) > 1]
    return max(categories, key=lambda column: (len(column.counts), column.name), default=None)


def _main_number(listed: Mapping[str, Column]) -> Column | None:
    """The first numeric column with "price" in its name, else the first."""
    numbers = [column for column in listed.values() if column.kind == "number" and column.present]
    return next((column for column in numbers if "price" in column.name.lower()), numbers[0] if numbers else None)


def _numbers(listed: Mapping[str, Column]) -> Html:
    charts = [histogram(column.numbers, title=column.name) for column in listed.values() if column.kind == "number"][
        :MOST_CHARTS
    ]
    category, price = _main_category(listed), _main_number(listed)
    if category and price:
        groups: dict[str, list[float]] = {}
        for name, value in zip(category.values, price.values, strict=True):
            if not is_missing(name) and not is_missing(value):
                groups.setdefault(str(name), []).append(float(value or 0))
        common = sorted(groups, key=lambda name: -len(groups[name]))[:MOST_BARS]
        title = f"{price.name} by {category.name}"
        charts.insert(0, spread_chart({name: _spread(groups[name]) for name in common}, title=title))
    return columns(*charts)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(*(float(point) for point in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))))


def _categories(listed: Mapping[str, Column]) -> Html:
    charts: list[Html] = []
    for column in listed.values():
        if column.kind == "category" and len(column.counts) > 1:
            common = column.counts.most_common(MOST_BARS)
            counts = {"rows": [float(count) for _, count in common]}
            charts.append(bar_chart([str(value) for value, _ in common], counts, title=column.name))
    return columns(*charts)


def _measure(tokenizer: Path | None) -> tuple[str, Callable[[str], int]]:
    """What texts are measured in, and how."""
    if tokenizer is None:
        return "words", lambda text: len(text.split())
    file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    if not file.is_file():
        raise MissingInputError(f"{file}: no such tokenizer file")
    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise DataError(f"{file} is not a tokenizer: {error}") from error
    return "tokens", lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def _texts(listed: Mapping[str, Column], unit: str, measure: Callable[[str], int]) -> Html:
    charts: list[Html] = []
    for column in listed.values():
        if column.kind == "text" and not is_image(column.name, column.kind):
            lengths = [float(measure(str(value))) for value in column.present]
            charts.append(histogram(lengths, title=f"{unit.capitalize()} in {column.name}", x_label=unit))
            charts.append(_common_words(column))
    return columns(*charts)


def _common_words(column: Column) -> Html:
    counts = Counter(word for value in column.present for word in str(value).split())
    common = counts.most_common(MOST_BARS)
    title = f"Words in {column.name}: {len(counts):,} different ones"
    return bar_chart([word for word, _ in common], {"times": [float(count) for _, count in common]}, title=title)


def _pictures(pictures: _Pictures) -> Html:
    if not pictures.sizes:
        return element("p", {"class": "note"}, "Nothing to draw.")
    common = Counter(pictures.sizes).most_common(MOST_BARS)
    sizes = bar_chart(
        [f"{width} x {height}" for (width, height), _ in common],
        {"pictures": [float(count) for _, count in common]},
        title="Width x height in pixels",
    )
    shapes = histogram([width / height for width, height in pictures.sizes], title="Width / height", y_label="pictures")
    samples = gallery((thumbnail(image, caption, edge=128), caption) for image, caption in pictures.samples)
    return join([columns(sizes, shapes), samples])


def _column_table(listed: Mapping[str, Column]) -> Html:
    heads = ("Column", "Type", "Kind", "Missing", "Different values", "Most frequent")
    rows = (
        (
            column.name,
            column.type,
            column.kind,
            f"{column.missing_rate:.1%}",
            len(column.counts),
            str(column.counts.most_common(1)[0][0])[:60] if column.present else None,
        )
        for column in listed.values()
    )
    return table(heads, rows)
