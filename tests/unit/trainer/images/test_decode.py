"""Pictures as they come from shops and phones, and as an attacker would make them."""

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phi3k_trainer.images.decode import ImageError, decode_image, image_header
from tests.unit.trainer.images.making import FORMATS, MAX_PIXELS, assert_corners, corners, png, reason_of, written


@pytest.mark.parametrize("format", FORMATS)
def test_every_allowed_format_is_read(format: str) -> None:
    data = written(corners(), format)
    assert_corners(decode_image(data, max_pixels=MAX_PIXELS))
    assert image_header(data) == (format, 48, 32)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_exif_orientation_is_applied(format: str, orientation: int, turn: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = written(corners().transpose(turn), format, exif=exif)
    assert_corners(decode_image(data, max_pixels=MAX_PIXELS))
    assert image_header(data) == (format, 48, 32)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    exif = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\xff\xff"
    data = written(corners(), "JPEG", exif=exif)
    assert_corners(decode_image(data, max_pixels=MAX_PIXELS))


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    decoded = decode_image(written(image, "PNG"), max_pixels=MAX_PIXELS)
    assert [decoded.getpixel((x, 0)) for x in range(3)] == [(255, 0, 0), (127, 127, 127), (255, 255, 255)]


def test_a_transparent_palette_colour_becomes_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    decoded = decode_image(written(image, "PNG", transparency=0), max_pixels=MAX_PIXELS)
    assert [decoded.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (200, 0, 0)]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_key_colour_becomes_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), 0)
    key: Any = 0 if mode == "L" else (0, 0, 0)
    decoded = decode_image(written(image, "PNG", transparency=key), max_pixels=MAX_PIXELS)
    assert decoded.getpixel((0, 0)) == (255, 255, 255)


def test_grey_with_alpha_is_laid_over_white() -> None:
    decoded = decode_image(written(Image.new("LA", (4, 4), (0, 0)), "PNG"), max_pixels=MAX_PIXELS)
    assert decoded.getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_is_converted() -> None:
    assert_corners(decode_image(written(corners().convert("CMYK"), "JPEG", quality=95), max_pixels=MAX_PIXELS))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    samples = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    decoded = decode_image(written(Image.fromarray(samples), format), max_pixels=MAX_PIXELS)
    assert [decoded.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]


def test_16_bit_colour_is_scaled() -> None:
    rows = b"\x00" + struct.pack(">3H", 65535, 32896, 0)
    assert decode_image(png(1, 1, 16, 2, rows), max_pixels=MAX_PIXELS).getpixel((0, 0)) == (255, 128, 0)


def test_bilevel_is_converted() -> None:
    assert decode_image(written(Image.new("1", (4, 4), 1), "PNG"), max_pixels=MAX_PIXELS).getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    frames = [Image.new("RGB", (48, 32), "black")]
    data = written(corners(), format, save_all=True, append_images=frames, **options)
    assert_corners(decode_image(data, max_pixels=MAX_PIXELS))


def test_a_multi_picture_file_of_a_phone_counts_as_jpeg() -> None:
    data = written(corners(), "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32))])
    assert image_header(data) == ("JPEG", 48, 32)
    assert_corners(decode_image(data, max_pixels=MAX_PIXELS))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = written(Image.fromarray(noise), format)
    assert reason_of(data[: int(len(data) * share)]) == "unreadable"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", FORMATS)
def test_flipped_bytes_never_escape_as_another_error(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    data = bytearray(written(Image.fromarray(noise), format))
    rng = np.random.default_rng(1)
    for _ in range(200):
        broken = bytearray(data)
        for position in rng.integers(0, min(len(data), 200), 3):
            broken[position] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(broken), max_pixels=MAX_PIXELS).mode == "RGB"
        except ImageError as error:
            assert error.reason in {"unreadable", "too_large", "unsupported_format", "empty"}  # noqa: PT017


def test_no_bytes_are_an_empty_picture() -> None:
    assert reason_of(b"") == "empty"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(width: int, height: int) -> None:
    assert reason_of(png(width, height, 8, 2, b"")) == "unreadable"


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>404</body></html>",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\x00\x00\x00\x00WAVE",
    ],
    ids=["html", "pdf", "svg", "wave"],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert reason_of(data) == "unsupported_format"


@pytest.mark.parametrize("format", ["ICO", "PPM", "EPS", "TGA"])
def test_other_formats_never_reach_their_decoder(format: str) -> None:
    assert reason_of(written(corners(), format)) == "unsupported_format"


def test_floating_point_samples_are_refused() -> None:
    data = written(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF")
    assert reason_of(data) == "unsupported_format"


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = png(30_000, 3_000, 8, 2, b"\x00")  # announces 270 MB, holds a byte
    assert reason_of(bomb, max_pixels=89_000_000) == "too_large"


def test_a_bomb_beyond_every_cap_is_refused_by_its_header() -> None:
    bomb = png(2**31 - 1, 2**31 - 1, 8, 2, b"\x00")
    assert reason_of(bomb) == "too_large"
    assert image_header(bomb) == ("PNG", 2**31 - 1, 2**31 - 1)


def test_the_message_says_the_size_and_the_field() -> None:
    with pytest.raises(ImageError, match=r"48 x 32 pixels, more than data\.max_pixels = 1535"):
        decode_image(written(corners(), "PNG"), max_pixels=48 * 32 - 1)


def test_a_picture_of_exactly_the_cap_is_read() -> None:
    assert_corners(decode_image(written(corners(), "PNG"), max_pixels=48 * 32))


def test_the_header_is_read_without_the_pixels() -> None:
    data = written(corners(), "PNG")
    assert image_header(data[:60]) == ("PNG", 48, 32)
