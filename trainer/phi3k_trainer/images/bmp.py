"""How much work a BMP is, from its header alone."""

import struct

from phi3k_trainer.images.errors import ImageError

MOST_RUN_LENGTH_BYTES = 16_000_000
WIDEST_RUN_LENGTH = 1_000_000

_RUN_LENGTH = frozenset({1, 2})  # BI_RLE8, BI_RLE4
_SHORTEST_HEADER = 40  # bytes, BITMAPINFOHEADER; older ones know no compression


def check_work(data: bytes) -> None:
    """Refuse run-length coded pictures that the decoder, an interpreted loop over runs, takes long for.

    One of their codes skips up to 255 rows at once, whatever the height.

    Raises:
        ImageError: with reason `too_slow`.
    """
    if len(data) < 14 + _SHORTEST_HEADER or struct.unpack_from("<I", data, 14)[0] < _SHORTEST_HEADER:
        return
    width, _, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in _RUN_LENGTH and (len(data) > MOST_RUN_LENGTH_BYTES or abs(width) > WIDEST_RUN_LENGTH):
        raise ImageError(
            "too_slow",
            f"the picture takes too long to decode: {len(data):,} bytes of runs, {abs(width):,} pixels wide",
        )
