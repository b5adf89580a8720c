"""Pictures made byte by byte, and what the tests of decoding look for."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phi3k_trainer.images.decode import ImageError, decode_image

MAX_PIXELS = 1_000_000
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)


def written(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, interlaced: int = 0) -> bytes:
    """A PNG file from its header fields and raw rows (each with its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def reason_of(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, max_pixels=max_pixels)
    return caught.value.reason


def assert_corners(image: Image.Image, width: int = 48, height: int = 32, tolerance: int = 12) -> None:
    assert (image.mode, image.size) == ("RGB", (width, height))
    seen = [image.getpixel((x, y)) for y in (3, height - 4) for x in (3, width - 4)]
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    np.testing.assert_allclose(np.array(seen), np.array(expected), atol=tolerance)
