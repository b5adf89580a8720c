"""What a product of the sample catalogue is, what it is called and what it costs."""

import bisect
import math
import random
from dataclasses import dataclass

from phi3k_trainer.data.sample.garments import Kind

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "Black": (30, 30, 34),
    "Red": (206, 24, 36),
    "Blue": (28, 66, 200),
    "Green": (22, 138, 62),
    "Yellow": (250, 208, 20),
    "Pink": (248, 140, 190),
    "Purple": (118, 40, 160),
    "Beige": (196, 160, 112),
}
PATTERN_FACTORS = {"": 1.0, "Striped": 1.25, "Checked": 1.5}
"""Price factor of each pattern; plain pieces have no word for it in their title."""
GLOSSY_FACTOR = 1.5
LOGO_FACTOR = 1.25
DISCOUNT_FACTOR = 0.7
PRICE_POINTS = (1.09, 1.29, 1.59, 1.89, 2.29, 2.79, 3.39, 3.99, 4.79, 5.79, 6.99, 8.79)
"""Prices as a shop writes them, times a power of ten: 579, 699, 879, 1090, ..., about a fifth apart."""
GLOSSY_SHARE = 0.4
LOGO_SHARE = 0.25
DISCOUNT_SHARE = 0.15


@dataclass(frozen=True)
class Product:
    """Everything about a product, all of it visible in its picture."""

    kind: Kind
    color: str
    pattern: str
    glossy: bool
    logo: bool
    discounted: bool

    @property
    def title(self) -> str:
        """Such as "Red Striped Cotton Shirt"."""
        material = self.kind.glossy if self.glossy else self.kind.matte
        return " ".join(word for word in (self.color, self.pattern, material, self.kind.name) if word)

    @property
    def dearness(self) -> float:
        """How much more expensive than the plainest piece of its kind: the product of its features' factors."""
        glossy = GLOSSY_FACTOR if self.glossy else 1.0
        return PATTERN_FACTORS[self.pattern] * glossy * (LOGO_FACTOR if self.logo else 1.0)

    def full_price(self, price_factor: float = 1.0) -> float:
        """The price before a discount, on the shop's price points."""
        return price_point(self.kind.base_price * self.dearness * price_factor)

    def price(self, price_factor: float = 1.0) -> float:
        """What it costs now."""
        full = self.full_price(price_factor)
        return price_point(full * DISCOUNT_FACTOR) if self.discounted else full


def draw_product(rng: random.Random, kinds: tuple[Kind, ...]) -> Product:
    """A product with independent features: any colour and pattern is as likely as any other."""
    return Product(
        kind=rng.choice(kinds),
        color=rng.choice(tuple(COLORS)),
        pattern=rng.choice(tuple(PATTERN_FACTORS)),
        glossy=rng.random() < GLOSSY_SHARE,
        logo=rng.random() < LOGO_SHARE,
        discounted=rng.random() < DISCOUNT_SHARE,
    )


def price_point(value: float) -> float:
    """The shop's price nearest to `value` (> 0) by ratio."""
    decade = 10.0 ** math.floor(math.log10(value))
    points = [round(point * scale, 2) for scale in (decade / 10, decade, decade * 10) for point in PRICE_POINTS]
    above = bisect.bisect_left(points, value)
    below = above - 1
    return points[above] if value * value >= points[below] * points[above] else points[below]
