"""The shapes of the sample catalogue: each garment kind as polygons in a square from -1 to 1, y pointing down."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]
Polygon = tuple[Point, ...]


@dataclass(frozen=True)
class Kind:
    """A garment kind: its name, what it costs in its plainest form, and how it looks."""

    name: str
    category: str
    department: str
    matte: str
    """The material without a sheen."""
    glossy: str
    """The material with a sheen: more expensive, drawn with highlights."""
    base_price: float
    fabric: tuple[Polygon, ...]
    """Covered with colour and pattern."""
    holes: tuple[Polygon, ...] = ()
    """Cut out of the fabric again."""
    trim: tuple[Polygon, ...] = ()
    """Plain, over the fabric: belts, collars, soles; darker than the fabric, gilt on a glossy material."""
    seams: tuple[tuple[Point, ...], ...] = ()
    """Dark lines."""
    buttons: tuple[Point, ...] = ()
    shine: tuple[Point, ...] = field(default=((-0.18, -0.3), (0.2, 0.05)))
    """Where the highlights of a glossy material sit."""
    logo: Point = (0.0, 0.0)
    """Where the enamel emblem of a more expensive piece sits."""


def _arc(center: Point, radii: Point, start: float, end: float, count: int = 16) -> Polygon:
    """Points on an ellipse from angle `start` to `end` in degrees, clockwise from the right."""
    steps = [math.radians(start + (end - start) * index / (count - 1)) for index in range(count)]
    return tuple((center[0] + radii[0] * math.cos(a), center[1] + radii[1] * math.sin(a)) for a in steps)


def _box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _mirrored(polygon: Sequence[Point]) -> Polygon:
    return tuple((-x, y) for x, y in polygon)


def _symmetric(right_half: Sequence[Point]) -> Polygon:
    """A closed outline from its right half, given from top to bottom."""
    return (*right_half, *reversed(_mirrored(right_half)))


def _rows(xs: Sequence[float], ys: Sequence[float]) -> tuple[Point, ...]:
    return tuple((x, y) for y in ys for x in xs)


_LAPEL: Polygon = ((0.04, -0.88), (0.3, -0.82), (0.26, -0.45), (0.02, -0.3))
_TAIL_FRINGES = tuple(((x, 0.78), (x, 0.97)) for x in (-0.46, -0.34, -0.22, -0.1))
_TAIL_FRINGES_SHORT = tuple(((x, 0.5), (x, 0.69)) for x in (0.1, 0.22, 0.34, 0.46))
_BOOT: Polygon = ((-0.86, -0.72), (-0.42, -0.72), (-0.4, 0.28), (-0.12, 0.42), (-0.06, 0.66), (-0.86, 0.66))
_BOOT_SOLE: Polygon = ((-0.88, 0.66), (-0.04, 0.66), (-0.04, 0.78), (-0.56, 0.78), (-0.6, 0.9), (-0.88, 0.9))
_BOOT_SHIFT = 0.92


def _shifted(polygon: Sequence[Point], by: float) -> Polygon:
    return tuple((x + by, y) for x, y in polygon)


TRENCH_COAT = Kind(
    "Trench Coat",
    "TRENCH COATS",
    "OUTERWEAR",
    "Cotton",
    "Leather",
    1890,
    fabric=(_symmetric(((0.2, -0.9), (0.44, -0.8), (0.78, 0.28), (0.54, 0.36), (0.42, -0.12), (0.58, 0.97))),),
    trim=(_LAPEL, _mirrored(_LAPEL), _box(-0.48, 0.02, 0.48, 0.16)),
    seams=(((0.0, -0.3), (0.0, 0.97)),),
    buttons=_rows((-0.18, 0.18), (-0.16, 0.34, 0.6)),
    shine=((-0.24, -0.42), (0.3, 0.5)),
    logo=(0.0, 0.09),
)
QUILTED_JACKET = Kind(
    "Quilted Jacket",
    "QUILTED JACKETS",
    "OUTERWEAR",
    "Nylon",
    "Satin",
    1090,
    fabric=(_symmetric(((0.16, -0.72), (0.52, -0.62), (0.95, 0.52), (0.68, 0.62), (0.54, 0.2), (0.54, 0.68))),),
    trim=(_box(-0.2, -0.86, 0.2, -0.66), _box(-0.54, 0.58, 0.54, 0.7), _box(-0.045, -0.66, 0.045, 0.6)),
    seams=(
        *(((-0.52, y), (-0.06, y + 0.3)) for y in (-0.5, -0.18, 0.14)),
        *(((-0.06, y), (-0.52, y + 0.3)) for y in (-0.5, -0.18, 0.14)),
        *(((0.52, y), (0.06, y + 0.3)) for y in (-0.5, -0.18, 0.14)),
        *(((0.06, y), (0.52, y + 0.3)) for y in (-0.5, -0.18, 0.14)),
    ),
    shine=((-0.3, -0.4), (0.32, 0.12)),
    logo=(0.3, -0.36),
)
SHIRT = Kind(
    "Shirt",
    "SHIRTS",
    "READY TO WEAR",
    "Cotton",
    "Silk",
    399,
    fabric=(_symmetric(((0.2, -0.72), (0.46, -0.66), (0.97, -0.3), (0.78, 0.06), (0.48, -0.14), (0.48, 0.8))),),
    trim=(
        ((0.0, -0.56), (0.1, -0.82), (0.3, -0.72), (0.16, -0.46)),
        ((0.0, -0.56), (-0.1, -0.82), (-0.3, -0.72), (-0.16, -0.46)),
    ),
    seams=(((0.0, -0.56), (0.0, 0.8)),),
    buttons=_rows((0.0,), (-0.28, 0.0, 0.28, 0.56)),
    shine=((-0.26, -0.24), (0.26, 0.42)),
    logo=(0.27, -0.22),
)
TROUSERS = Kind(
    "Trousers",
    "TROUSERS",
    "READY TO WEAR",
    "Wool",
    "Leather",
    579,
    fabric=(_symmetric(((0.4, -0.92), (0.56, 0.95), (0.14, 0.95), (0.02, -0.2))),),
    trim=(_box(-0.42, -0.95, 0.42, -0.8),),
    seams=(((0.0, -0.8), (0.0, -0.2)),),
    buttons=((0.0, -0.87),),
    shine=((-0.26, -0.4), (0.32, 0.3)),
    logo=(0.22, -0.62),
)
DRESS = Kind(
    "Dress",
    "DRESSES",
    "READY TO WEAR",
    "Cotton",
    "Silk",
    699,
    fabric=(_symmetric(((0.14, -0.6), (0.2, -0.95), (0.32, -0.95), (0.36, -0.5), (0.22, -0.16), (0.86, 0.92))),),
    trim=(_box(-0.24, -0.22, 0.24, -0.1),),
    shine=((-0.12, -0.42), (0.24, 0.42)),
    logo=(0.0, 0.14),
)
SCARF = Kind(
    "Scarf",
    "SCARVES",
    "ACCESSORIES",
    "Wool",
    "Silk",
    279,
    fabric=(
        _arc((0.0, -0.52), (0.66, 0.42), 0, 360, 28),
        _box(-0.52, -0.4, -0.04, 0.8),
        _box(0.04, -0.4, 0.52, 0.52),
    ),
    holes=(_arc((0.0, -0.62), (0.34, 0.15), 0, 360, 20),),
    trim=(_box(-0.52, 0.66, -0.04, 0.8), _box(0.04, 0.38, 0.52, 0.52)),
    seams=((*_arc((0.0, -0.52), (0.66, 0.42), 165, 15),), *_TAIL_FRINGES, *_TAIL_FRINGES_SHORT),
    shine=((-0.28, 0.2), (0.28, 0.0)),
    logo=(-0.28, 0.48),
)
BAG = Kind(
    "Bag",
    "BAGS",
    "ACCESSORIES",
    "Canvas",
    "Leather",
    1290,
    fabric=(((-0.72, -0.12), (0.72, -0.12), (0.9, 0.8), (-0.9, 0.8)),),
    trim=(
        (*_arc((0.0, -0.12), (0.5, 0.7), 180, 360), *_arc((0.0, -0.12), (0.36, 0.56), 360, 180)),
        _box(-0.76, -0.16, 0.76, -0.02),
    ),
    buttons=((-0.5, -0.09), (0.5, -0.09)),
    shine=((-0.5, 0.22), (0.46, 0.52)),
    logo=(0.0, 0.2),
)
BOOTS = Kind(
    "Boots",
    "BOOTS",
    "SHOES",
    "Suede",
    "Leather",
    879,
    fabric=(_BOOT, _shifted(_BOOT, _BOOT_SHIFT)),
    trim=(_BOOT_SOLE, _shifted(_BOOT_SOLE, _BOOT_SHIFT), _box(-0.9, -0.8, -0.38, -0.66), _box(0.02, -0.8, 0.54, -0.66)),
    shine=((-0.64, -0.2), (0.28, -0.2)),
    logo=(-0.62, 0.3),
)
HAT = Kind(
    "Hat",
    "HATS",
    "ACCESSORIES",
    "Wool",
    "Leather",
    479,
    fabric=(
        _arc((0.0, 0.34), (0.97, 0.28), 0, 360, 32),
        (*_arc((0.0, -0.3), (0.5, 0.34), 180, 360), (0.56, 0.34), (-0.56, 0.34)),
    ),
    trim=(_box(-0.56, 0.1, 0.56, 0.26),),
    shine=((-0.18, -0.34), (0.44, 0.46)),
    logo=(0.3, 0.18),
)
UMBRELLA = Kind(
    "Umbrella",
    "UMBRELLAS",
    "ACCESSORIES",
    "Nylon",
    "Satin",
    229,
    fabric=(_arc((0.0, 0.0), (0.96, 0.82), 180, 360, 32),),
    holes=tuple(_arc((x, 0.02), (0.24, 0.16), 180, 360) for x in (-0.72, -0.24, 0.24, 0.72)),
    trim=(
        _box(-0.04, -0.94, 0.04, 0.74),
        (*_arc((0.14, 0.74), (0.18, 0.2), 180, 0), *_arc((0.14, 0.74), (0.09, 0.11), 0, 180)),
    ),
    seams=(((0.0, -0.82), (-0.48, 0.0)), ((0.0, -0.82), (0.48, 0.0))),
    shine=((-0.4, -0.4), (0.36, -0.36)),
    logo=(0.66, -0.24),
)

BASIC_KINDS = (TRENCH_COAT, QUILTED_JACKET, SHIRT, TROUSERS, DRESS, SCARF, BAG, BOOTS)
EXTENDED_KINDS = (*BASIC_KINDS, HAT, UMBRELLA)
