"""The lines of one attempt of a replica, kept in the run's directory.

A cluster may delete a failed pod together with its log: the training operator does so before each restart.
"""

import errno
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from phi3k_trainer.files import encode_json

# Of one file; when it is full it becomes the `.old` one, so an attempt keeps its last lines in at most twice that.
MAX_BYTES = 8 * 2**20


class ReplicaLog:
    """A file that takes lines from several threads. What it can't take is said once, and training goes on."""

    def __init__(self, path: Path, header: Mapping[str, Any], max_bytes: int = MAX_BYTES) -> None:
        """Make the file, which must not be there yet, with `header` as its first line."""
        self.path = path
        self._header = encode_json(header)
        self._max_bytes = max_bytes
        self._file: FileIO | None = None
        self._bytes = 0
        self._lock = threading.Lock()
        self._has_failed = False
        self.write(self._header)

    def write(self, line: bytes) -> None:
        """Add one line, with or without its end, behind the time in UTC."""
        entry = self._stamped(line)
        with self._lock:
            try:
                if self._file is None or self._bytes + len(entry) > self._max_bytes:
                    self._begin_file()
                self._append(entry)
            except OSError as error:
                self._tell(error)

    def close(self) -> None:
        """Take no more lines."""
        if self._file is not None:
            self._file.close()

    def _begin_file(self) -> None:
        old = self.path.with_suffix(".old")
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        else:
            self.path.replace(old)
            self._file.close()
        self._file, self._bytes = self.path.open("xb", buffering=0), 0
        if old.exists():
            self._append(self._stamped(self._header))

    def _append(self, entry: bytes) -> None:
        """Write the whole line or nothing of it."""
        assert self._file is not None
        if self._file.write(entry) < len(entry):
            self._file.seek(self._file.truncate(self._bytes))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._bytes += len(entry)

    def _tell(self, error: OSError) -> None:
        if not self._has_failed:
            self._has_failed = True
            reason = error.strerror or error
            print(f"{self.path} misses lines: {reason}. Training continues.", file=sys.stderr, flush=True)

    @staticmethod
    def _stamped(line: bytes) -> bytes:
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} ".encode() + line.rstrip(b"\r\n") + b"\n"
