"""The chunks of a PNG that make its pixels: the only ones that a decoder gets to see.

Text and colour profiles of any size stand beside sound pictures. They change nothing of what is decoded here, and the
decoder refuses, or inflates, what is large. Chunks are those of the PNG specification (W3C, third edition).
"""

import struct
import zlib
from collections.abc import Iterator

from phi3k_trainer.images.errors import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_KINDS = frozenset({b"IHDR", b"PLTE", b"tRNS"})
_TEXT_KINDS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
# Where the orientation stands: in eXIf, or as older programs write it, in a text with one of these keys.
_ORIENTATION_KEYS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_LONGEST_ORIENTATION_TEXT = 1 << 20  # bytes, unpacked: more than the decoder's own limit would refuse the picture
_LONGEST_EXIF = 1 << 20
_MOST_CHUNKS = 1 << 20
_INFLATED_AT_ONCE = 1 << 20

# Of interlaced pictures: first column and row, and steps between columns and rows, of each pass (Adam7).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def pixel_chunks(data: bytes) -> bytes:
    """The PNG `data` with no other chunks than header, palette, transparency, orientation and the (first) picture.

    A file that ends early, or whose chunks make no sense, ends there: the decoder notices.

    Raises:
        ImageError: with reason `unreadable` when the file is cut into more than a million chunks.
    """
    kept = {b"": _SIGNATURE}
    pixels: list[memoryview] = []
    for number, (kind, body, whole) in enumerate(_chunks(data)):
        if number == _MOST_CHUNKS:
            raise ImageError("unreadable", f"the picture's file has more than {_MOST_CHUNKS:,} chunks")
        if kind == b"IDAT":
            pixels.append(body)
        elif kind == b"IEND":
            break
        elif kind in _PIXEL_KINDS or (kind == b"eXIf" and len(body) <= _LONGEST_EXIF) or _gives_orientation(kind, body):
            kept.setdefault(kind, bytes(whole))
    joined = b"".join(pixels)
    return b"".join([*kept.values(), _chunk(b"IDAT", joined), _chunk(b"IEND", b"")])


def holds_every_row(data: bytes) -> bool:
    """Whether the pixels in `data`, as `pixel_chunks` returns it, are as many as its header announces.

    They are inflated piece by piece, and only counted.
    """
    header, expected = None, 0
    for kind, body, _ in _chunks(data):
        if kind == b"IHDR" and len(body) >= 13:
            header = struct.unpack(">IIBBBBB", body[:13])
            expected = _raw_bytes(*header)
        elif kind == b"IDAT":
            return header is not None and _inflates_to(body, expected)
    return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Kind, body and the whole of each chunk that is there in full."""
    view = memoryview(data)
    position = len(_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        kind = data[position + 4 : position + 8]
        if end > len(data):
            # What is there of a picture that was cut off is left to the decoder, which says so.
            yield kind, view[position + 8 :], view[position:]
            return
        yield kind, view[position + 8 : end - 4], view[position:end]
        position = end


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _gives_orientation(kind: bytes, body: memoryview) -> bool:
    if kind not in _TEXT_KINDS or not bytes(body[:32]).startswith(_ORIENTATION_KEYS):
        return False
    if len(body) > _LONGEST_ORIENTATION_TEXT:
        return False
    packed = _packed_text(kind, bytes(body))
    if packed is None:
        return True
    try:
        inflater = zlib.decompressobj()
        inflater.decompress(packed, _LONGEST_ORIENTATION_TEXT)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail


def _packed_text(kind: bytes, body: bytes) -> bytes | None:
    """The compressed part of a text chunk; None where it is not compressed."""
    _, _, rest = body.partition(b"\0")
    if kind == b"zTXt":
        return rest[1:]
    if kind == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].split(b"\0", 2)[-1]
    return None


def _raw_bytes(width: int, height: int, depth: int, colour: int, _method: int, _filter: int, interlaced: int) -> int:
    """Bytes of the filtered rows of the whole picture."""
    bits = depth * _SAMPLES.get(colour, 1)

    def rows(columns: int, lines: int) -> int:
        return lines * (1 + (columns * bits + 7) // 8) if columns > 0 else 0

    if not interlaced:
        return rows(width, height)
    return sum(rows(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES if height > y)


def _inflates_to(packed: memoryview, expected: int) -> bool:
    inflater = zlib.decompressobj()
    pending: bytes | memoryview = packed
    count = 0
    while count < expected:
        try:
            piece = inflater.decompress(pending, _INFLATED_AT_ONCE)
        except zlib.error:
            return False
        count += len(piece)
        pending = inflater.unconsumed_tail
        if not piece:
            break
    return count >= expected
