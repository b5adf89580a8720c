"""How the verbs that copy files show progress: a bar on a terminal, a line every ten seconds elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phi3k.printing import megabytes, say

if TYPE_CHECKING:
    from phi3k_jobs.transfer.parts import Entry

SECONDS_BETWEEN_LINES = 10.0

Show = Callable[[str, int], None]


@contextmanager
def progress_of_files(verb: str) -> "Iterator[Callable[[Sequence[Entry]], Show]]":
    """A function to call with the files; it returns one to call with the bytes of each that are copied."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:

        def begin(files: "Sequence[Entry]") -> Show:
            total, here = sum(file.size for file in files), dict.fromkeys((file.path for file in files), 0)
            task = bar.add_task(verb, total=total)
            done, next_line = 0, time.monotonic() + SECONDS_BETWEEN_LINES

            def show(path: str, size: int) -> None:
                nonlocal done, next_line
                done += size - here[path]
                here[path] = size
                bar.update(task, completed=done)
                if not console.is_terminal and time.monotonic() > next_line:
                    next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                    say(f"{verb}: {megabytes(done)} of {megabytes(total)}", err=True)

            return show

        yield begin
