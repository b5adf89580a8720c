"""Which picture formats are read, by the first bytes of a file and by the endings of file names."""

import re
from collections.abc import Mapping

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The picture formats that are read; anything else is refused before a decoder sees it."""

READ_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
)
"""Endings of files in these formats."""

OTHER_PICTURE_SUFFIXES = frozenset(
    {".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".svg", ".svgz", ".ico", ".psd", ".tga", ".ppm", ".pgm", ".pbm"}
    | {".pnm", ".exr", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
)
"""Endings of pictures in formats that are not read: a folder of pictures counts them as rows that can't be used."""

# What a file of each of FORMATS starts with. A BMP's first two letters could be any text's, so its header size counts.
_START: Mapping[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\x00|MM\x00[*+]"),
}

_OTHER_STARTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "an AVIF picture"),
    (re.compile(rb"....ftyp(?:hei|hev|mif|msf)", re.DOTALL), "a HEIC picture"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "a JPEG XL picture"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!DOCTYPE svg)", re.IGNORECASE), "an SVG drawing or XML"),
    (re.compile(rb"\s*<(?:!DOCTYPE )?html", re.IGNORECASE), "a web page"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\x00\x00\x01\x00"), "an icon (ICO)"),
    (re.compile(rb"\x1f\x8b"), "data compressed by gzip"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS, not the file itself"),
)


def format_of(data: bytes) -> str | None:
    """Which of `FORMATS` a file is in whose first bytes (at least 18) are `data`; None: in none of them."""
    return next((name for name, start in _START.items() if start.match(data)), None)


def starts_like_picture(data: bytes) -> bool:
    """Whether `data` starts as a picture in one of `FORMATS` does."""
    return format_of(data) is not None


def other_kind(data: bytes) -> str | None:
    """What a file that starts with `data` is, if it is a well-known kind that is not read."""
    return next((kind for start, kind in _OTHER_STARTS if start.match(data)), None)
