"""Text files line by line: whatever they are compressed with, in UTF-8, or in UTF-16 or UTF-32 with its mark."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa

from phi3k_trainer.errors import DataError
from phi3k_trainer.storage import blamed

LONGEST_LINE = 200_000_000
"""Characters; a longer line is a damaged file, or one that expands without end."""

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def text_lines(path: Path, newline: Literal["", "\n"]) -> Iterator[str]:
    r"""The lines with their ends; a byte that is not UTF-8 becomes half a surrogate, to be found where it is used.

    Args:
        path: The file; endings such as `.gz` and `.zst` say that it is compressed.
        newline: What ends a line: "" for \n, \r\n and \r, "\n" for that alone.

    Raises:
        DataError: the file is damaged, in another encoding, or has a line of more than `LONGEST_LINE` characters.
    """
    try:
        with cast("BinaryIO", pa.input_stream(str(path))) as stream:
            start = stream.read(4)
        encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8-sig")
        if encoding == "utf-8-sig" and 0 in start:
            raise DataError(f"{path} is not text in UTF-8 (there are zero bytes at its start): save it as UTF-8")
        errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
        with (
            cast("BinaryIO", pa.input_stream(str(path))) as stream,
            io.TextIOWrapper(stream, encoding, errors, newline) as text,
        ):
            while line := text.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{path} has a line of more than {LONGEST_LINE:,} characters")
                yield line
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not {error.encoding.upper()}, although it begins so: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise blamed(error, path, DataError(f"{path} can't be read: {error}")) from error
