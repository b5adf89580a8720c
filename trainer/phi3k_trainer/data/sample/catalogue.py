"""Writes the sample catalogue: a table in the DBQ schema and a rendered picture for each row."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phi3k_trainer.data.sample.drawing import draw_view, render
from phi3k_trainer.data.sample.garments import BASIC_KINDS, EXTENDED_KINDS
from phi3k_trainer.data.sample.product import Product, draw_product
from phi3k_trainer.data.tables.table import TABLE_NAME, write_once, write_table
from phi3k_trainer.recipe.data import SampleSection

FORMAT = 1
"""Part of the marker: raise it when the same section would give other bytes."""
FIRST_PRODUCT_CODE = 80_000_000
EUROS_A_DOLLAR = 0.92
PICTURES_A_DIRECTORY = 1000
# Flaws of real shop data, rare enough not to matter for training and frequent enough to be met.
DUPLICATE_SHARE = 0.01
NOT_AVAILABLE_SHARE = 0.01
NOT_AVAILABLE = "N.A."


def write_catalogue(section: SampleSection, directory: Path) -> Path:
    """Renders the catalogue into `directory` and returns its table, `catalogue.parquet`.

    Row i and its picture depend on the seed and i alone: a larger catalogue begins with the rows of a smaller one.
    `imageurl` is a path relative to the directory, without a file ending as in the real set. When the directory
    already holds this very catalogue nothing is done.

    Raises:
        OutputError: the directory holds something else.
        StorageError: writing failed, for example because the disk is full.
    """
    made_from = {"format": FORMAT, "sample": section.model_dump(mode="json")}
    return write_once(directory, made_from, lambda unfinished: _write(section, unfinished))


def _write(section: SampleSection, directory: Path) -> None:
    write_table(_rows(section, directory), directory / TABLE_NAME)


def _rows(section: SampleSection, directory: Path) -> Iterator[dict[str, Any]]:
    kinds = EXTENDED_KINDS if section.kinds == "extended" else BASIC_KINDS
    for index in range(section.rows):
        design = _design_of(section.seed, index)
        rng = random.Random(f"{section.seed}/design/{design}")
        product, view = draw_product(rng, kinds), draw_view(rng)
        location = picture_location(index)
        write_picture(directory / location, render(product, view, section.image_size))
        yield _row(section, index, product, location)


def _design_of(seed: int, index: int) -> int:
    """The design that row `index` shows: its own, or now and then that of an earlier row under a new product code."""
    rng = random.Random(f"{seed}/row/{index}")
    return rng.randrange(index) if index and rng.random() < DUPLICATE_SHARE else index


def picture_location(index: int) -> str:
    """Where the picture of row `index` stands, relative to the catalogue."""
    return f"images/{index // PICTURES_A_DIRECTORY:04d}/{FIRST_PRODUCT_CODE + index}"


def write_picture(path: Path, data: bytes) -> None:
    """Writes a file, and its directory if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _row(section: SampleSection, index: int, product: Product, location: str) -> dict[str, Any]:
    rng = random.Random(f"{section.seed}/flaws/{index}")
    full_price, price = product.full_price(section.price_factor), product.price(section.price_factor)
    code = FIRST_PRODUCT_CODE + index
    slug = product.title.lower().replace(" ", "-")
    return {
        "website_name": "Sample Outfitters",
        "competence_date": "2024-02-01",
        "country_code": "USA",
        "currency_code": "USD",
        "brand": "SAMPLE OUTFITTERS",
        "category1_code": _or_not_available(product.kind.department, rng),
        "category2_code": _or_not_available(product.kind.name.upper(), rng),
        "category3_code": product.kind.category,
        "product_code": code,
        "title": product.title,
        "itemurl": _or_not_available(f"https://shop.example/us/{slug}-p{code}", rng),
        "imageurl": location,
        "full_price": full_price,
        "price": price,
        "full_price_eur": round(full_price * EUROS_A_DOLLAR, 2),
        "price_eur": round(price * EUROS_A_DOLLAR, 2),
        "flg_discount": int(product.discounted),
    }


def _or_not_available(value: str, rng: random.Random) -> str:
    return NOT_AVAILABLE if rng.random() < NOT_AVAILABLE_SHARE else value
