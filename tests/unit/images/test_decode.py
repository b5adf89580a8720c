"""Pictures as they come from shops and phones, and as an attacker would make them."""

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phi3k_trainer.images.decode import ImageError, decode_image, image_header, to_rgb

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


def with_chunk(data: bytes, added: bytes, *, at_the_end: bool = False) -> bytes:
    """The PNG `data` with a chunk more, behind the header or before the end."""
    place = len(data) - 12 if at_the_end else 8 + 25
    return data[:place] + added + data[place:]


LARGE = b"long " * 400_000
TEXTS = {
    "tEXt": chunk(b"tEXt", b"Comment\0" + LARGE),
    "zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE)),
    "iTXt": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LARGE)),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE)),
    "raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(LARGE)),
    "ICC profile": chunk(b"iCCP", b"profile\0\0" + zlib.compress(LARGE)),
    "many texts": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE[: 1 << 20])) * 70,
    "wrong method": chunk(b"zTXt", b"Comment\0\7xx"),
    "wrong checksum": chunk(b"tEXt", b"Comment\0x")[:-4] + bytes(4),
    "unknown chunk": chunk(b"prVt", LARGE),
}


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_text_and_profiles_of_any_size_beside_the_pixels_change_nothing(name: str, at_the_end: bool) -> None:
    plain = written(corners(), "PNG")
    data = with_chunk(plain, TEXTS[name], at_the_end=at_the_end)
    assert decode_image(data, max_pixels=MAX_PIXELS) == decode_image(plain, max_pixels=MAX_PIXELS)
    assert image_header(data) == ("PNG", 48, 32)


def test_text_that_would_unpack_to_far_more_is_not_unpacked() -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    bomb = with_chunk(written(corners(), "PNG"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed))
    assert_corners(decode_image(bomb, max_pixels=MAX_PIXELS))


def test_an_orientation_in_xmp_is_applied_as_before() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    turned = written(corners().transpose(Image.Transpose.ROTATE_180), "PNG")
    data = with_chunk(turned, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    assert_corners(decode_image(data, max_pixels=MAX_PIXELS))


def test_an_orientation_behind_the_pixels_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = written(corners().transpose(Image.Transpose.ROTATE_180), "PNG")
    assert_corners(
        decode_image(with_chunk(turned, chunk(b"eXIf", exif.tobytes()[6:]), at_the_end=True), max_pixels=MAX_PIXELS)
    )


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("rows", [0, 1, 16, 63])
def test_a_png_whose_rows_end_early_and_in_order_is_truncated(rows: int, interlaced: int) -> None:
    data = png(64, 64, 8, 2, (b"\x00" + b"\xc8" * 192) * rows, interlaced)
    assert reason_of(data) == "unreadable"


@pytest.mark.parametrize("pieces", [1, 2, 7, 5000])
def test_a_black_png_is_whole_however_its_data_is_cut_into_chunks(pieces: int) -> None:
    packed = zlib.compress((b"\x00" + bytes(192)) * 64, 0)
    size = -(-len(packed) // pieces)
    body = b"".join(chunk(b"IDAT", packed[start : start + size]) for start in range(0, size * pieces, size))
    plain = png(64, 64, 8, 2, b"")
    data = plain[:33] + body + plain[-12:]
    assert decode_image(data, max_pixels=MAX_PIXELS).getbbox() is None


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (9, 17), (64, 33)])
def test_an_interlaced_png_is_whole_when_all_its_passes_are_there(size: tuple[int, int]) -> None:
    width, height = size
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    sides = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in passes]
    rows = b"".join((b"\x00" + b"\x07" * 3 * columns) * lines for columns, lines in sides if columns)
    assert decode_image(png(width, height, 8, 2, rows, 1), max_pixels=MAX_PIXELS).getpixel((0, 0)) == (7, 7, 7)
    assert reason_of(png(width, height, 8, 2, rows[:-4], 1)) == "unreadable"


def test_a_tiff_whose_strips_end_early_is_truncated() -> None:
    data = bytearray(written(corners(48, 16), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(directory + 2, directory + 2 + 12 * data[directory], 12):
        if struct.unpack_from("<H", data, entry)[0] == 257:  # ImageLength
            struct.pack_into("<HHII", data, entry, 257, 4, 1, 64)
    assert reason_of(bytes(data)) == "unreadable"


def test_no_cap_but_the_recipes_limits_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # where Pillow itself would refuse
    for format in ("JPEG", "PNG", "GIF", "BMP"):
        assert_corners(decode_image(written(corners(), format), max_pixels=MAX_PIXELS))


@pytest.mark.parametrize("format", ["WEBP", "TIFF"])
def test_a_cap_of_the_decoders_own_is_named(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"data\.max_pixels does not raise") as caught:
        decode_image(written(corners(), format), max_pixels=MAX_PIXELS)
    assert caught.value.reason == "too_large"


def progressive_with(scans: int, side: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    data = written(Image.new("RGB", (side, side), "green"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def test_a_small_jpeg_of_thousands_of_scans_is_refused_at_once() -> None:
    data = progressive_with(5000, 2000)
    started = time.process_time()
    assert reason_of(data, 4_000_000) == "too_slow"
    assert time.process_time() - started < 1


def test_a_jpeg_with_more_scans_than_usual_is_read() -> None:
    assert decode_image(progressive_with(50, 200), max_pixels=MAX_PIXELS).size == (200, 200)


@pytest.mark.parametrize("flood", [b"\xff\xe1\x00\x02" * 100_000, b"\xff" * 1_000_000], ids=["segments", "fill"])
def test_a_jpeg_with_a_flood_of_segments_is_refused_at_once(flood: bytes) -> None:
    data = written(corners(), "JPEG")
    started = time.process_time()
    assert reason_of(data[:2] + flood + data[2:]) == "unreadable"
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"\x00\x00\x00\x20ftypheic", "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_a_well_known_kind_that_is_not_read_is_named(start: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=kind) as caught:
        decode_image(start + bytes(100), max_pixels=MAX_PIXELS)
    assert caught.value.reason == "unsupported_format"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "I;16", "I", "YCbCr"])
def test_conversion_in_strips_gives_the_pixels_of_one_piece(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    image = Image.fromarray(samples, "RGBA")
    image = Image.fromarray(samples[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    if mode in ("P", "L"):
        image.info["transparency"] = 3
    whole = to_rgb(image)
    monkeypatch.setattr("phi3k_trainer.images.decode._STRIP_PIXELS", 100)
    assert to_rgb(image).tobytes() == whole.tobytes()


MEASURE = """
import resource, sys
from phi3k_trainer.images.decode import decode_image
data = open(sys.argv[1], "rb").read()
decode_image(open(sys.argv[2], "rb").read(), max_pixels=10**8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = decode_image(data, max_pixels=10**8)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - before) // 1024 - 4 * image.width * image.height // 2**20)
"""


@pytest.mark.parametrize(
    ("depth", "colour", "extra"),
    [(8, 3, chunk(b"PLTE", bytes(range(48))) + chunk(b"tRNS", bytes(range(16)))), (8, 6, b""), (16, 0, b"")],
    ids=["palette with transparency", "RGBA", "16-bit grey"],
)
def test_a_large_picture_takes_little_more_than_its_result(
    tmp_path: Path, depth: int, colour: int, extra: bytes
) -> None:
    side, samples = 4000, {3: 1, 6: 4, 0: 2}[colour]
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + side * samples)) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    (tmp_path / "small.png").write_bytes(written(corners(), "PNG"))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "bomb.png"), str(tmp_path / "small.png")]
    beyond = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert beyond < 4 * side * side / 2**20 + 40  # MiB: the picture as stored, and a strip
