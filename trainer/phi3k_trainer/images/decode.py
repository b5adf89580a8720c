"""From the bytes of a picture somebody else made to an RGB picture as a viewer shows it."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.images.formats import FORMATS, other_kind, starts_like_picture

__all__ = ["FORMATS", "ImageError", "check_signature", "decode_image", "image_header", "to_rgb"]

_ORIENTATION_TAG = 0x0112
_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = frozenset({5, 6, 7, 8})


def decode_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode a picture to RGB as a viewer shows it.

    The EXIF orientation is applied, transparency laid over white, 16-bit samples scaled to 8 bits,
    CMYK and palettes converted; of an animation the first frame counts.

    Args:
        data: The file's bytes.
        max_pixels: A header that announces more pixels is refused before any pixel is decoded.

    Raises:
        ImageError: with reason `empty`, `unsupported_format`, `too_large` or `unreadable`.
    """
    image = _open(data)
    if image.width * image.height > max_pixels:
        raise ImageError(
            "too_large",
            f"the picture has {image.width} x {image.height} pixels, more than data.max_pixels = {max_pixels}",
        )
    orientation = _orientation(image)
    try:
        image.load()
        rgb = to_rgb(image)
    except ImageError:
        raise
    except MemoryError:  # says nothing about the picture
        raise
    except Exception as error:  # decoders meet hostile bytes with any exception at all
        raise ImageError("unreadable", f"the picture is damaged: {error}") from error
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def image_header(data: bytes) -> tuple[str, int, int]:
    """Format, width and height in pixels as displayed (after EXIF rotation), without decoding pixels.

    Raises:
        ImageError: with reason `empty`, `unsupported_format`, `too_large` or `unreadable`.
    """
    image = _open(data)
    # A phone's multi-picture file is a JPEG followed by others.
    name = "JPEG" if image.format == "MPO" else str(image.format)
    width, height = image.size
    return (name, height, width) if _orientation(image) in _SWAPS_SIDES else (name, width, height)


def check_signature(data: bytes) -> None:
    """Refuse what doesn't start as a picture in one of `FORMATS` does; the first bytes of a file are enough.

    Raises:
        ImageError: with reason `empty` or `unsupported_format`.
    """
    if not data:
        raise ImageError("empty", "the picture has no bytes")
    if not starts_like_picture(data):
        kind = other_kind(data)
        seen = f"it is {kind}" if kind else f"the data starts with {data[:12]!r}"
        raise ImageError("unsupported_format", f"not a picture in a supported format ({', '.join(FORMATS)}): {seen}")


def _open(data: bytes) -> Image.Image:
    check_signature(data)
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError("unreadable", "the picture's header is damaged") from error
    except Exception as error:  # as in decode_image
        raise ImageError("unreadable", f"the picture's header is damaged: {error}") from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, still to be applied."""
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels: shown unrotated, as browsers do
        return 1
    return value if isinstance(value, int) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any decoded picture in 8-bit RGB: transparency over white, 16-bit samples scaled.

    Raises:
        ImageError: with reason `unsupported_format` for floating-point samples.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ImageError("unsupported_format", "the picture has floating-point samples, whose range is unknown")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale grey samples of 0 to 65535 to 0 to 255 (Pillow's own conversion clips at 255)."""
    samples = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((samples + 128) // 257).astype(np.uint8)).convert("RGB")
