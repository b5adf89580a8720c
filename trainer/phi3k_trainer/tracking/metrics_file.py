"""metrics.jsonl: every logged number of a run, one JSON object a line."""

import errno
import os
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from phi3k_trainer.files import convert, damage_named, encode_json, open_regular, read_json_lines, write_atomically
from phi3k_trainer.run_directory import METRICS, REMEDIES
from phi3k_trainer.tracking.tracker import Tracker


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read whole lines in order: `step`, `time` (seconds since 1970), the metrics; a missing file counts as empty.

    A last line without its line feed was cut off by a kill and is left out. Numbers that are not finite are None.

    Raises:
        MissingInputError: the file holds something else.
    """
    if not path.exists():
        return []
    with damage_named(path, REMEDIES[METRICS]):
        return [
            _checked(line, number)
            for number, line in enumerate(read_json_lines(path, REMEDIES[METRICS], last_may_be_torn=True), start=1)
        ]


def _checked(line: dict[str, Any], number: int) -> dict[str, Any]:
    values = convert(dict[str, float | None], line)
    if values.get("step") is None or values.get("time") is None:
        raise ValueError(f"line {number} has no step or no time")
    return line


def truncate_metrics(path: Path, step: int) -> None:
    """Drop what was logged after optimiser step `step`, so that a resumed run logs each step once; atomic."""
    if not path.exists():
        return
    kept = (line for line in read_metrics(path) if line["step"] <= step)
    write_atomically(path, b"".join(map(encode_json, kept)), "checkpoint.directory")


class MetricsFile(Tracker):
    """Appends to metrics.jsonl and flushes each line; lines that a full disk refuses are kept and written later."""

    def __init__(self, path: Path, report: Tracker) -> None:
        """Append to `path`; `report` is told (once) when writing fails."""
        self._path = path
        self._report = report
        self._waiting = b""
        self._failed = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line; a number that is not finite becomes null (JSON has no NaN)."""
        self._waiting += encode_json({"step": step, "time": round(time.time(), 3), **metrics})
        self._write()

    def _write(self) -> None:
        try:
            self._append()
        except OSError as error:
            if not self._failed:
                self._report.note(f"{self._path} can't be written ({error}); lines wait in memory, the run continues")
            self._failed = True
        else:
            self._waiting = b""
            self._failed = False

    def _append(self) -> None:
        with FileIO(open_regular(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
            end = file.tell()
            if file.write(self._waiting) < len(self._waiting):
                file.truncate(end)  # a part of a line would spoil the one that follows it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
