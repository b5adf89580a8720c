"""How much work a JPEG is, from its markers alone (ITU-T T.81, annex B)."""

import re

from phi3k_trainer.images.errors import ImageError

MOST_SCANNED_PIXELS = 4_000_000_000
"""Scans times pixels of a picture; a progressive one of 12 megapixels usually has 10 scans, 120 million."""

_MOST_SEGMENTS = 10_000
_MOST_FILL_BYTES = 10_000
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Within the coded data of a scan: a marker that is neither a stuffed zero, nor a restart, nor a fill byte.
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")


def check_work(data: bytes, pixels: int) -> None:
    """Refuse a JPEG that is small on disk and takes minutes: each scan goes over all `pixels` again.

    Raises:
        ImageError: with reason `too_slow`, or `unreadable` when it is a flood of segments.
    """
    scans = _scans(data)
    if scans * pixels > MOST_SCANNED_PIXELS:
        raise ImageError(
            "too_slow", f"the picture takes too long to decode: {scans:,} progressive scans over {pixels:,} pixels"
        )


def _scans(data: bytes) -> int:
    scans = segments = fill = 0
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        start = _FILL.match(data, position)
        assert start is not None
        fill += start.end() - position - 1
        position = start.end() + 1  # behind the marker
        marker = data[position - 1] if position <= len(data) else _END_OF_IMAGE
        if marker == _END_OF_IMAGE:
            break
        segments += 1
        if segments > _MOST_SEGMENTS or fill > _MOST_FILL_BYTES:
            raise ImageError("unreadable", "the picture has more segments than any program writes")
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == _START_OF_SCAN:
            scans += 1
            found = _NEXT_MARKER.search(data, position)
            if found is None:
                break
            position = found.end() - 2
    return scans
