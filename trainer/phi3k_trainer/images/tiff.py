"""How much work a TIFF is, from its first directory alone (TIFF 6.0, section 2; BigTIFF: 64-bit offsets)."""

import struct
from collections.abc import Iterator

from phi3k_trainer.images.errors import ImageError

MOST_NUMBERS = 500_000
"""Numbers in one field, such as the offsets of strips; a picture of 65,535 rows with a strip a row has 65,535."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323
_BIG = 43
# Types whose values a decoder keeps as they are: BYTE, ASCII, UNDEFINED.
_BYTES_TYPES = frozenset({1, 2, 7})
_SHORT, _LONG, _LONG8 = 3, 4, 16
_MOST_ENTRIES = 65_535


def check_work(data: bytes, max_pixels: int) -> None:
    """Refuse a TIFF cut into millions of strips, or whose tiles are larger than a picture may be.

    A directory that makes no sense, or names more than the file holds, is left to the decoder.

    Raises:
        ImageError: with reason `too_slow` or `too_large`.
    """
    sides = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
    try:
        for tag, kind, count, value in _entries(data):
            if MOST_NUMBERS < count <= len(data) and kind not in _BYTES_TYPES:
                raise ImageError(
                    "too_slow", f"the picture takes too long to decode: its field {tag} has {count:,} numbers"
                )
            if tag in sides:
                sides[tag] = value
    except struct.error:
        return
    pixels = sides[_TILE_WIDTH] * sides[_TILE_LENGTH]
    if pixels > max_pixels:
        raise ImageError(
            "too_large", f"the picture's tiles have {pixels:,} pixels, more than data.max_pixels = {max_pixels}"
        )


def _entries(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and (first) value or offset of each field of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (magic,) = struct.unpack_from(f"{order}H", data, 2)
    head, number, entry = ("Q", "Q", "HHQ") if magic == _BIG else ("I", "H", "HHI")
    (start,) = struct.unpack_from(order + head, data, 8 if magic == _BIG else 4)
    (entries,) = struct.unpack_from(order + number, data, start)
    size = struct.calcsize(order + entry) + struct.calcsize(order + head)
    start += struct.calcsize(order + number)
    for index in range(min(entries, _MOST_ENTRIES)):
        place = start + index * size
        tag, kind, count = struct.unpack_from(order + entry, data, place)
        form = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}.get(kind, head)
        (value,) = struct.unpack_from(order + form, data, place + struct.calcsize(order + entry))
        yield tag, kind, count, value
