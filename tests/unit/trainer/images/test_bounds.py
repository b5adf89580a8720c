"""What decoding costs is bounded by the header, and a picture that is not whole is refused."""

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
from tests.unit.trainer.images.making import MAX_PIXELS, assert_corners, chunk, corners, png, reason_of, written


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


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "optimized": {"optimize": True},
    "restarts by row": {"restart_marker_rows": 1},
    "restarts by block": {"restart_marker_blocks": 1},
    "restarts by three blocks": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("share", [0.35, 0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_was_cut_off_and_closed_again_is_truncated(
    mode: str, options: dict[str, Any], share: float
) -> None:
    data = written(noise().convert(mode), "JPEG", **options)
    start = data.index(b"\xff\xda") + 14
    cut = start + int((len(data) - start) * share)
    assert reason_of(data[:cut] + b"\xff\xd9") == "unreadable"


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_grey_jpeg_is_whole(mode: str, options: dict[str, Any]) -> None:
    image = Image.new(mode, (65, 33), (128,) * len(Image.new(mode, (1, 1)).getbands()))
    assert decode_image(written(image, "JPEG", **options), max_pixels=MAX_PIXELS).size == (65, 33)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
def test_a_jpeg_that_ends_in_grey_is_whole(options: dict[str, Any], progressive: bool) -> None:
    image = noise()
    image.paste((128, 128, 128), (32, 32, 64, 64))
    data = written(image, "JPEG", quality=95, progressive=progressive, **options)
    assert decode_image(data, max_pixels=MAX_PIXELS).size == (64, 64)


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


def tiff(*fields: tuple[int, int, int, int], big: bool = False) -> bytes:
    """A TIFF of one directory with these fields: tag, type, count, value."""
    head, entry, number = ("<2sHHHQ", "<HHQQ", "<Q") if big else ("<2sHI", "<HHII", "<H")
    start = struct.pack(head, b"II", 43, 8, 0, 16) if big else struct.pack(head, b"II", 42, 8)
    return (
        start + struct.pack(number, len(fields)) + b"".join(struct.pack(entry, *field) for field in fields) + bytes(8)
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("field", [(273, 4, 4_000_000, 200), (324, 3, 4_000_000, 200), (33550, 12, 1_000_000, 200)])
def test_a_tiff_in_millions_of_strips_is_refused_at_once(field: tuple[int, int, int, int], big: bool) -> None:
    data = tiff((256, 4, 1, 1), (257, 4, 1, 4_000_000), field, big=big) + bytes(16_000_000)
    started = time.process_time()
    assert reason_of(data, 10**8) == "too_slow"
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("big", [False, True])
def test_a_tile_larger_than_a_picture_may_be_is_refused(big: bool) -> None:
    data = tiff((256, 4, 1, 8), (257, 4, 1, 8), (322, 3, 1, 60_000), (323, 4, 1, 60_000), big=big)
    assert reason_of(data) == "too_large"


def test_a_tiff_in_tiles_is_read() -> None:
    assert_corners(decode_image(written(corners(), "TIFF", tiffinfo={322: 16, 323: 16}), max_pixels=MAX_PIXELS))


@pytest.mark.parametrize("field", [(273, 4, 4_000_000, 200), (1, 1, 1, 1)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tiff_directory_that_ends_early_is_left_to_the_decoder(field: tuple[int, int, int, int]) -> None:
    data = bytearray(tiff(field))
    data[8] = 200
    assert reason_of(bytes(data[: 8 + 2 + 12 - 4])) == "unreadable"


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    colours = b"".join(bytes([shade, shade, shade, 0]) for shade in range(256))
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + colours + runs


def test_a_run_length_coded_bmp_is_read() -> None:
    image = decode_image(run_length_bmp(4, 2, b"\x04\xc8\x00\x00" * 2 + b"\x00\x01"), max_pixels=MAX_PIXELS)
    assert image.getpixel((3, 1)) == (200, 200, 200)


@pytest.mark.parametrize(
    "data",
    [run_length_bmp(80_000_000, 1, b"\x00\x02\xff\xff" * 10), run_length_bmp(9000, 9000, b"\x01\x07" * 9_000_000)],
    ids=["skips 255 rows of 80 million pixels", "18 MB of runs of one pixel"],
)
def test_a_run_length_coded_bmp_that_takes_long_is_refused_at_once(data: bytes) -> None:
    started = time.process_time()
    assert reason_of(data, 10**8) == "too_slow"
    assert time.process_time() - started < 0.5


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
