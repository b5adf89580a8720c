"""How much work a JPEG is, from its markers alone (ITU-T T.81, annex B)."""

import re
from collections.abc import Iterator

from phi3k_trainer.images.errors import ImageError

MOST_SCANNED_PIXELS = 4_000_000_000
"""Scans times pixels of a picture; a progressive one of 12 megapixels usually has 10 scans, 120 million."""

_MOST_SEGMENTS = 10_000
_MOST_FILL_BYTES = 10_000
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Within the coded data of a scan: a marker that is neither a stuffed zero, nor a restart, nor a fill byte.
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FIRST_RESTART = 0xD0
_MORE_DATA = bytes(range(7, 250, 3)) * 4  # any bits that no coder would write, without 0xFF


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


def continuations(data: bytes) -> tuple[bytes, ...]:
    """Copies of a JPEG with more coded data before its end marker, once as it is and once behind the next restart.

    A decoder fills what is missing of a picture with mid-grey, without a word. A whole picture stays as it is when more
    data follows its last block; one that was cut off, and closed with an end marker, changes.
    """
    end, restart = None, 0
    for marker, position in _markers(data):
        if marker == _END_OF_IMAGE:
            end = position
        elif marker == _START_OF_SCAN:
            restarts = _RESTART.findall(data, position, _end_of_scan(data, position))
            restart = (restarts[-1][-1] - _FIRST_RESTART + 1) % 8 if restarts else 0
    if end is None:
        return ()
    next_restart = bytes([0xFF, _FIRST_RESTART + restart])
    return tuple(data[:end] + start + _MORE_DATA + data[end:] for start in (b"", next_restart))


def _scans(data: bytes) -> int:
    return sum(marker == _START_OF_SCAN for marker, _ in _markers(data))


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Each marker up to the end of the image, and where it begins; what makes no sense is left to the decoder."""
    segments = fill = 0
    position = 2
    while position + 2 <= len(data) and data[position] == 0xFF:
        start = _FILL.match(data, position)
        assert start is not None
        begin, position = start.end() - 1, start.end() + 1
        fill += begin - start.start()
        segments += 1
        if segments > _MOST_SEGMENTS or fill > _MOST_FILL_BYTES:
            raise ImageError("unreadable", "the picture has more segments than any program writes")
        marker = data[begin + 1] if begin + 1 < len(data) else _END_OF_IMAGE
        yield marker, begin
        if marker == _END_OF_IMAGE:
            return
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == _START_OF_SCAN:
            position = _end_of_scan(data, position)


def _end_of_scan(data: bytes, position: int) -> int:
    found = _NEXT_MARKER.search(data, position)
    return len(data) if found is None else found.end() - 2
