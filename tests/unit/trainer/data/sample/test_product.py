import dataclasses
import random
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phi3k_trainer.data.sample.drawing import View, draw_view, render
from phi3k_trainer.data.sample.garments import BASIC_KINDS, BOOTS, EXTENDED_KINDS, SHIRT, Kind
from phi3k_trainer.data.sample.product import COLORS, PATTERN_FACTORS, Product, draw_product, price_point

PLAIN = Product(SHIRT, "Red", "", glossy=False, logo=False, discounted=False)
STILL = View((0.0, 0.0), 0.9, 0.0, (240, 240, 240), 0, 85)


def pixels(product: Product, view: View = STILL, size: int = 112) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(render(product, view, size))), dtype=np.int16)


def test_a_title_says_colour_pattern_material_and_kind() -> None:
    assert dataclasses.replace(PLAIN, pattern="Striped").title == "Red Striped Cotton Shirt"
    assert Product(BOOTS, "Black", "", glossy=True, logo=False, discounted=False).title == "Black Leather Boots"


@given(st.floats(min_value=0.5, max_value=1e6))
def test_a_price_point_is_near_the_price_and_stays_when_taken_again(value: float) -> None:
    point = price_point(value)
    assert 0.88 < point / value < 1.14
    assert price_point(point) == point


def test_price_points_look_like_a_shops() -> None:
    assert [price_point(value) for value in (400, 1000, 1300, 2300)] == [399, 1090, 1290, 2290]


@pytest.mark.parametrize("change", [{"pattern": "Checked"}, {"glossy": True}, {"logo": True}])
@pytest.mark.parametrize("kind", EXTENDED_KINDS, ids=lambda kind: kind.name)
def test_what_makes_a_product_dearer_can_be_seen(kind: Kind, change: dict[str, object]) -> None:
    plain = dataclasses.replace(PLAIN, kind=kind)
    dear = dataclasses.replace(plain, **change)  # type: ignore[arg-type]
    assert dear.full_price() > plain.full_price()
    changed = np.abs(pixels(dear) - pixels(plain)).max(axis=2) > 40
    assert changed.mean() > 0.008


def test_a_discount_can_be_seen_and_lowers_the_price_only() -> None:
    reduced = dataclasses.replace(PLAIN, discounted=True)
    assert reduced.price() < PLAIN.price()
    assert reduced.full_price() == PLAIN.full_price()
    assert np.abs(pixels(reduced) - pixels(PLAIN)).max() > 150


def test_every_kind_colour_and_pattern_looks_different() -> None:
    products = [
        Product(kind, color, pattern, glossy=False, logo=False, discounted=False)
        for kind in EXTENDED_KINDS
        for color in COLORS
        for pattern in PATTERN_FACTORS
    ]
    pictures = np.stack([pixels(product, size=56).ravel() for product in products]).astype(np.float32)
    squared = (pictures**2).sum(1)
    distance = squared[:, None] + squared[None, :] - 2 * pictures @ pictures.T
    np.fill_diagonal(distance, np.inf)
    root_mean_square = np.sqrt(distance.min() / pictures.shape[1])
    assert root_mean_square > 8


@given(st.integers(min_value=0, max_value=10_000))
def test_a_garment_stays_inside_its_picture(seed: int) -> None:
    rng = random.Random(seed)
    product, view = draw_product(rng, EXTENDED_KINDS), draw_view(rng)
    for polygon in product.kind.fabric:
        assert all(-4 <= x <= 340 and -4 <= y <= 340 for x, y in view.place(polygon, 168))


def test_every_basic_kind_has_its_own_words_and_price() -> None:
    assert len({kind.name for kind in BASIC_KINDS}) == len({kind.category for kind in BASIC_KINDS}) == 8
    assert len({kind.name for kind in EXTENDED_KINDS}) == 10
