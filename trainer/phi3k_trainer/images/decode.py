"""From the bytes of a picture somebody else made to an RGB picture as a viewer shows it."""

import io
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from phi3k_trainer.images import bmp, jpeg, tiff
from phi3k_trainer.images.errors import ImageError
from phi3k_trainer.images.formats import FORMATS, format_of, other_kind
from phi3k_trainer.images.memory import DECODING_BYTES, MemoryBudget
from phi3k_trainer.images.png import holds_every_row, pixel_chunks

__all__ = ["FORMATS", "ImageError", "check_signature", "decode_image", "image_header", "to_rgb", "use_decoded"]

Used = TypeVar("Used")

# A phone's multi-picture file is a JPEG followed by others, and its first picture counts.
_DECODERS: Mapping[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
# What decoding takes at most: samples as stored; the decoder's buffers (coefficients of progressive JPEG and a second
# picture to compare with, three canvases of WebP, a strip of TIFF that is the whole picture); RGB in 4 bytes; and a
# turned copy of that.
_BYTES_PER_PIXEL: Mapping[str, int] = {"JPEG": 22, "PNG": 12, "WEBP": 24, "GIF": 9, "BMP": 12, "TIFF": 20}
_MEMORY = MemoryBudget(DECODING_BYTES)
_STRIP_PIXELS = 1 << 20
_MID_GREY = frozenset({127, 128})

_ORIENTATION_TAG = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101
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
    CMYK and palettes converted; of an animation the first frame counts. `max_pixels` is the only limit on the size.

    Args:
        data: The file's bytes.
        max_pixels: A header that announces more pixels is refused before any pixel is decoded.

    Raises:
        ImageError: with reason `empty`, `unsupported_format`, `too_large`, `too_slow` or `unreadable`.
        MemoryError: this machine's memory is too small for it.
    """
    return use_decoded(data, lambda image: image, max_pixels=max_pixels)


def use_decoded(data: bytes, use: Callable[[Image.Image], Used], *, max_pixels: int) -> Used:
    """What `use` makes of the picture that `decode_image` gives, while the memory for both is reserved.

    Raises:
        ImageError, MemoryError: as `decode_image`.
    """
    image = _open(data, max_pixels)
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ImageError(
            "too_large",
            f"the picture has {image.width} x {image.height} pixels, more than data.max_pixels = {max_pixels}",
        )
    if image.format == "JPEG":
        jpeg.check_work(data, pixels)
    orientation = _orientation(image)
    with _MEMORY.reserved(pixels * _BYTES_PER_PIXEL[str(image.format)]):
        rgb = _decoded(image, data)
        return use(rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb)


def _decoded(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """The pixels of `image` in RGB, all of them."""
    try:
        _check_strips(image)
        image.load()
        _check_rows(image, data)
        rgb = to_rgb(image)
    except (ImageError, MemoryError):  # the latter says nothing about the picture
        raise
    except Image.DecompressionBombError as error:
        raise _beyond_decoder(error) from error
    except Exception as error:  # decoders meet hostile bytes with any exception at all
        raise ImageError("unreadable", f"the picture is damaged: {error}") from error
    return rgb


def image_header(data: bytes) -> tuple[str, int, int]:
    """Format, width and height in pixels as displayed (after EXIF rotation), without decoding pixels.

    Raises:
        ImageError: with reason `empty`, `unsupported_format` or `unreadable`.
    """
    image = _open(data, max_pixels=sys.maxsize)
    name, (width, height) = str(image.format), image.size
    return (name, height, width) if _orientation(image) in _SWAPS_SIDES else (name, width, height)


def check_signature(data: bytes) -> None:
    """Refuse what doesn't start as a picture in one of `FORMATS` does; the first bytes of a file are enough.

    Raises:
        ImageError: with reason `empty` or `unsupported_format`.
    """
    if not data:
        raise ImageError("empty", "the picture has no bytes")
    if format_of(data) is None:
        kind = other_kind(data)
        seen = f"it is {kind}" if kind else f"the data starts with {data[:12]!r}"
        raise ImageError("unsupported_format", f"not a picture in a supported format ({', '.join(FORMATS)}): {seen}")


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """The picture with its header read. Pillow's own cap on pixels is for programs without one: `open` isn't asked."""
    check_signature(data)
    name = format_of(data)
    assert name is not None
    if name == "TIFF":
        tiff.check_work(data, max_pixels)
    elif name == "BMP":
        bmp.check_work(data)
    try:
        return _DECODERS[name](io.BytesIO(pixel_chunks(data) if name == "PNG" else data))
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _beyond_decoder(error) from error
    except Exception as error:  # as in _decoded
        raise ImageError("unreadable", f"the picture's header is damaged: {error}") from error


def _beyond_decoder(error: Image.DecompressionBombError) -> ImageError:
    """Pillow keeps its cap for the canvas of a WebP and the tiles of a TIFF."""
    return ImageError("too_large", f"{error} (of the decoder Pillow, which data.max_pixels does not raise)")


def _check_strips(image: ImageFile.ImageFile) -> None:
    """Refuse a TIFF that has strips or tiles for a part of the picture only: the decoder leaves the rest black."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]  # as stored, not as displayed
    places = {tile.extents for tile in image.tile if tile.extents is not None}
    covered = sum((min(right, width) - left) * (min(bottom, height) - top) for left, top, right, bottom in places)
    if covered < width * height:
        raise ImageError(
            "unreadable", f"the picture is truncated: {covered:,} of its {width * height:,} pixels are there"
        )


def _check_rows(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse a picture whose compressed data ends early and in order: the decoder fills the rest and says nothing.

    Where the last row, or the last pixel of a JPEG, isn't what it fills with, the decoder got there. Where it is, or a
    PNG's rows don't come in order, it is looked at closely.
    """
    width, height = image.size
    if image.format == "PNG":
        last = image.crop((0, height - 1, width, height)).tobytes()
        reached = last.count(0) < len(last) and not image.info.get("interlace")
        whole = reached or holds_every_row(pixel_chunks(data))
    elif image.format == "JPEG":
        reached = not _MID_GREY.issuperset(image.crop((width - 1, height - 1, width, height)).tobytes())
        whole = reached or not any(_differs(image, longer) for longer in jpeg.continuations(data))
    else:
        return
    if not whole:
        raise ImageError("unreadable", "the picture is truncated: its last rows are missing")


def _differs(image: Image.Image, data: bytes) -> bool:
    other = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    return ImageChops.difference(image, other).getbbox() is not None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, still to be applied."""
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    try:
        # Not the PNG decoder's own method, which decodes all pixels first.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels: shown unrotated, as browsers do
        return 1
    return value if isinstance(value, int) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Any decoded picture in 8-bit RGB: transparency over white, 16-bit samples scaled.

    It is converted strip by strip, so that a large picture takes no more than itself and the result.

    Raises:
        ImageError: with reason `unsupported_format` for floating-point samples.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ImageError("unsupported_format", "the picture has floating-point samples, whose range is unknown")
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    if height <= rows:
        return _strip_to_rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        rgb.paste(_strip_to_rgb(image.crop((0, top, width, min(top + rows, height)))), (0, top))
    return rgb


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale grey samples of 0 to 65535 to 0 to 255 (Pillow's own conversion clips at 255)."""
    samples = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((samples + 128) // 257).astype(np.uint8)).convert("RGB")
