"""How results look: JSON for programs, tables for people."""

from collections.abc import Sequence

import typer

from phi3k_trainer.files import encode_json
from phi3k_trainer.terminal import escaped, escaped_json, escaped_line

FILE_WIDTH = 200


def say(text: str, *, err: bool = False, nl: bool = True, before: str = "") -> None:
    """Print text of ours or others', its control characters written out; `before` may hold colours."""
    typer.echo(before + escaped(text), err=err, nl=nl)


def print_json(value: object) -> None:
    """Print one JSON document."""
    typer.echo(escaped_json(encode_json(value, indent=2).decode()), nl=False)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table; columns after the first that hold numbers only are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        cells = [row[index] for row in rows]
        numeric = index > 0 and all(cell[:1].isdigit() or cell in ("", "-") for cell in cells)
        table.add_column(escaped_line(heading), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(escaped_line(cell)) for cell in row))
    console = Console()
    # A file or a pipe has no width: nothing there may be cut or folded.
    console = console if console.is_terminal else Console(width=FILE_WIDTH)
    if title:
        console.print(Text(escaped_line(title), style="bold"))
    console.print(table)


def gibibytes(count: int) -> str:
    """Bytes as `12.3 GiB`."""
    return f"{count / 2**30:.1f} GiB"


def megabytes(count: int) -> str:
    """Bytes as `12.3 MB`, in the unit that suits them."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people say it: `45 s`, `12 min`, `3.4 h`, `2.1 d`."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 or unit == 1 else f"{value:.1f} {name}"
    return f"{seconds / 86_400:.1f} d"
