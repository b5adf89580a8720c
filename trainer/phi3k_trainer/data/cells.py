"""What a picture cell of a table holds: bytes, a path, a URL, a picture in base64, or a list of these."""

import base64
import binascii
import os
import re
from pathlib import Path

from phi3k_trainer.data.rows.row import Folder, ImageSource, UnusableRowError, is_missing
from phi3k_trainer.images.formats import starts_like_picture
from phi3k_trainer.remote.addresses import STORES, checked, is_address, joined

LONGEST_URL = 8192
"""Characters; servers refuse longer ones."""

LONGEST_PATH = 4096
"""Bytes; PATH_MAX of Linux."""

_URL = re.compile(r"https?://", re.IGNORECASE)
_DATA_URI = re.compile(r"data:(?P<type>[^,;]{0,100})(?P<parameters>(?:;[^,;]{0,100})*),", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_SHORTEST_BASE64 = 48  # characters: no picture of any format is that small, and few names are that long
_SIGNATURE_CHARACTERS = 32
_SHOWN_CHARACTERS = 60


def image_sources(value: object, folder: Folder | None, column: str, max_bytes: int) -> tuple[ImageSource, ...]:
    """The pictures in a cell: bytes, a path, a URL, base64, {"bytes", "path"} as of an Image feature, or a list.

    An empty list is a row without a picture. Text is base64 when it is a `data:` URI, or when it decodes to the first
    bytes of a picture and no file has that name.

    Args:
        value: The cell.
        folder: Where relative paths start; None where the source has no directory.
        column: The column's name, for messages.
        max_bytes: A picture that stands in the cell itself may have this many bytes.

    Raises:
        UnusableRowError: the cell is empty or holds something else.
    """
    if isinstance(value, list | tuple):
        return tuple(source for item in value for source in image_sources(item, folder, column, max_bytes))
    if isinstance(value, dict) and ("bytes" in value or "path" in value):
        return image_sources(value.get("bytes") or value.get("path"), folder, column, max_bytes)
    if isinstance(value, bytes) and value:
        return (_embedded(value, column, max_bytes),)
    if value == b"" or is_missing(value):
        raise UnusableRowError("missing_image", f"column '{column}' has no picture: {value!r}")
    if isinstance(value, str):
        return (_from_text(value.strip(), folder, column, max_bytes),)
    kind = type(value).__name__
    raise UnusableRowError("missing_image", f"column '{column}' is neither a picture nor a path nor a URL but {kind}")


def _from_text(text: str, folder: Folder | None, column: str, max_bytes: int) -> ImageSource:
    if _URL.match(text):
        if len(text) > LONGEST_URL:
            raise UnusableRowError(
                "bad_url", f"column '{column}' has a URL of {len(text):,} characters: {_shown(text)}"
            )
        return ImageSource(location=text)
    if uri := _DATA_URI.match(text):
        return _embedded(_from_data_uri(uri, text, column, max_bytes), column, max_bytes)
    if is_address(text):
        return _from_address(text, column)
    if _OTHER_SCHEME.match(text):
        raise UnusableRowError(
            "forbidden_scheme",
            f"column '{column}' has an address of a kind that is not read: {_shown(text)} (those are http, https, "
            f"{', '.join(STORES)})",
        )
    path = _path(text, folder)
    if _looks_like_base64(text) and (path is None or not os.path.lexists(path)):
        return _embedded(_decoded(text, column, max_bytes), column, max_bytes)
    if path is None:
        raise UnusableRowError(
            "missing_file",
            f"column '{column}' has {len(text):,} characters that are neither a path, nor a URL, nor a picture in "
            f"base64: {_shown(text)}",
        )
    if isinstance(path, str):
        return _from_address(path, column)
    if not path.is_absolute():
        raise UnusableRowError(
            "missing_file", f"column '{column}' has the relative path {_shown(text)}: set data.image_root"
        )
    return ImageSource(location=str(path))


def _from_address(text: str, column: str) -> ImageSource:
    if len(text) > LONGEST_URL:
        raise UnusableRowError(
            "bad_url", f"column '{column}' has an address of {len(text):,} characters: {_shown(text)}"
        )
    try:
        return ImageSource(location=checked(text))
    except ValueError as error:
        raise UnusableRowError("bad_url", f"column '{column}': the address {_shown(text)} {error}") from error


def _path(text: str, folder: Folder | None) -> Path | str | None:
    """The file that `text` names, or the address of an object; None when no file can have that name.

    Only `~/` means the home directory.
    """
    try:
        if len(os.fsencode(text)) > LONGEST_PATH or "\0" in text:
            return None
        path = Path(text).expanduser() if text.startswith("~/") else Path(text)
    except (UnicodeError, RuntimeError):  # half a surrogate; a user without a home directory
        return None
    if isinstance(folder, str) and not path.is_absolute():
        return joined(folder, text)
    return path if folder is None else folder / path


def _looks_like_base64(text: str) -> bool:
    """Whether `text` starts with the base64 of a picture's first bytes."""
    if len(text) < _SHORTEST_BASE64:
        return False
    start = "".join(text[: 2 * _SIGNATURE_CHARACTERS].split())[:_SIGNATURE_CHARACTERS]
    try:
        return starts_like_picture(base64.b64decode(start, validate=True)) and bool(_BASE64.fullmatch(text))
    except ValueError:
        return False


def _from_data_uri(uri: re.Match[str], text: str, column: str, max_bytes: int) -> bytes:
    if not uri["parameters"].lower().endswith(";base64"):
        raise UnusableRowError(
            "forbidden_scheme", f"column '{column}' has a data: URI that is not in base64: {_shown(text)}"
        )
    return _decoded(text[uri.end() :], column, max_bytes)


def _decoded(text: str, column: str, max_bytes: int) -> bytes:
    if len(text) * 3 // 4 > 2 * max_bytes:  # so that nothing is decoded in vain; line ends count a little
        raise UnusableRowError("too_many_bytes", _too_large(column, len(text) * 3 // 4, max_bytes))
    compact = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise UnusableRowError(
            "unreadable", f"column '{column}' has damaged base64 ({error}): {_shown(text)}"
        ) from error


def _embedded(data: bytes, column: str, max_bytes: int) -> ImageSource:
    if len(data) > max_bytes:
        raise UnusableRowError("too_many_bytes", _too_large(column, len(data), max_bytes))
    return ImageSource(data=data)


def _too_large(column: str, size: int, max_bytes: int) -> str:
    return f"column '{column}' holds a picture of {size:,} bytes, more than data.max_bytes = {max_bytes:,}"


def _shown(text: str) -> str:
    """The beginning of a cell, for a message."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")
