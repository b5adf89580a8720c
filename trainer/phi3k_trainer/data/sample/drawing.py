"""Draws a product as a shop's picture: large silhouette, flat colours, coarse patterns, a little disorder."""

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from phi3k_trainer.data.sample.garments import Point, Polygon
from phi3k_trainer.data.sample.product import COLORS, Color, Product

CREAM: Color = (250, 244, 228)
GOLD: Color = (206, 150, 10)
ENAMEL: Color = (0, 190, 196)
BAND = 0.17
"""Width of stripes in the garment's unit square: 26 pixels of a 336-pixel picture, about a patch of 28."""
CHECK_STEP = 0.5
SUPERSAMPLED_UP_TO = 1024
"""Larger pictures are drawn at their own size: their edges are smooth enough."""


@dataclass(frozen=True)
class View:
    """How a product lies in its picture: the noise that the answer does not depend on."""

    center: Point
    """Of the garment, in the picture's unit square from -1 to 1."""
    scale: float
    angle: float
    """In radians."""
    background: Color
    shade: int
    """Added to every channel of the garment's colour."""
    quality: int
    """Of the JPEG file."""

    def place(self, points: Sequence[Point], half: float) -> list[Point]:
        """Garment coordinates as pixels of a canvas whose edge is 2 * `half`."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        x0, y0 = self.center
        return [((x * cos - y * sin + x0 + 1) * half, (x * sin + y * cos + y0 + 1) * half) for x, y in points]


def draw_view(rng: random.Random) -> View:
    """A view with moderate noise: a few degrees, a few per cent, a light backdrop."""
    grey = rng.randint(222, 246)
    return View(
        center=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)),
        scale=rng.uniform(0.82, 0.93),
        angle=math.radians(rng.uniform(-5, 5)),
        background=(grey, grey + rng.randint(-4, 4), grey + rng.randint(-4, 4)),
        shade=rng.randint(-10, 10),
        quality=rng.randint(70, 90),
    )


def render(product: Product, view: View, size: int) -> bytes:
    """The picture of a product as a JPEG file, `size` pixels square."""
    factor = 2 if size <= SUPERSAMPLED_UP_TO else 1
    canvas = Image.new("RGB", (size * factor, size * factor), view.background)
    half = size * factor / 2
    color = _shaded(COLORS[product.color], view.shade)
    _cover(canvas, product, view, half, color)
    _dress(ImageDraw.Draw(canvas), product, view, half, color)
    picture = canvas.reduce(factor) if factor > 1 else canvas
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=view.quality)
    return written.getvalue()


def _cover(canvas: Image.Image, product: Product, view: View, half: float, color: Color) -> None:
    """Lays the patterned fabric on the canvas, with a shadow beside it."""
    mask = Image.new("1", canvas.size)
    pen = ImageDraw.Draw(mask)
    for polygon in product.kind.fabric:
        pen.polygon(view.place(polygon, half), fill=1)
    for polygon in product.kind.holes:
        pen.polygon(view.place(polygon, half), fill=0)
    shadow = round(half * 0.03)
    canvas.paste(_shaded(view.background, -38), (shadow, shadow), mask)
    canvas.paste(_fabric(canvas.size, product.pattern, view, half, color), (0, 0), mask)


def _fabric(size: tuple[int, int], pattern: str, view: View, half: float, color: Color) -> Image.Image:
    fabric = Image.new("RGB", size, color)
    pen = ImageDraw.Draw(fabric)
    if pattern == "Striped":
        for index in range(-4, 5):
            y = 2 * BAND * index
            pen.polygon(view.place(_band(y, vertical=False), half), fill=CREAM)
    elif pattern == "Checked":
        light = _mixed(color, CREAM, 0.62)
        starts = [CHECK_STEP * (index + 0.5) for index in range(-3, 3)]
        for vertical in (False, True):
            for start in starts:
                pen.polygon(view.place(_band(start, vertical=vertical), half), fill=light)
        for x in starts:
            for y in starts:
                crossing = ((x, y), (x + BAND, y), (x + BAND, y + BAND), (x, y + BAND))
                pen.polygon(view.place(crossing, half), fill=CREAM)
    return fabric


def _band(start: float, *, vertical: bool) -> Polygon:
    ends = ((-1.3, start), (1.3, start), (1.3, start + BAND), (-1.3, start + BAND))
    return tuple((y, x) for x, y in ends) if vertical else ends


def _dress(pen: ImageDraw.ImageDraw, product: Product, view: View, half: float, color: Color) -> None:
    """Draws what lies on the fabric: seams, trim (gilt on glossy materials), highlights, the emblem, the price tag."""
    kind, dark = product.kind, _mixed(color, (0, 0, 0), 0.45)
    thick = max(1, round(half * 0.016))
    for seam in kind.seams:
        pen.line(view.place(seam, half), fill=dark, width=thick)
    for polygon in kind.trim:
        pen.polygon(view.place(polygon, half), fill=GOLD if product.glossy else dark)
    for button in kind.buttons:
        _disc(pen, view, half, button, 0.05, CREAM)
    if product.glossy:
        for spot in kind.shine:
            _highlight(pen, view, half, spot, dark)
    if product.logo:
        _disc(pen, view, half, kind.logo, 0.15, dark)
        _disc(pen, view, half, kind.logo, 0.125, ENAMEL)
    if product.discounted:
        corner = half * 0.36
        pen.polygon([(0, 0), (corner, 0), (0, corner)], fill=(20, 20, 20))
        pen.line([(0, corner * 0.62), (corner * 0.62, 0)], fill=(255, 255, 255), width=round(half * 0.05))


def _disc(pen: ImageDraw.ImageDraw, view: View, half: float, center: Point, radius: float, color: Color) -> None:
    ((x, y),) = view.place([center], half)
    reach = radius * view.scale * half
    pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=color)


def _highlight(pen: ImageDraw.ImageDraw, view: View, half: float, center: Point, rim: Color) -> None:
    """A bright slanting streak with pointed ends, as on leather or silk; the rim sets it off from pale stripes."""
    x, y = center
    for reach, color in ((1.0, rim), (0.72, (255, 255, 255))):
        ends = ((-0.08, 0.26), (-0.14, 0.0), (0.08, -0.26), (0.14, 0.0))
        streak = [(x + dx * reach, y + dy * reach) for dx, dy in ends]
        pen.polygon(view.place(streak, half), fill=color)


def _shaded(color: Color, by: int) -> Color:
    red, green, blue = (min(255, max(0, channel + by)) for channel in color)
    return red, green, blue


def _mixed(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue
