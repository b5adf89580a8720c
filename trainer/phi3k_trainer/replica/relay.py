"""What the processes of a replica write, on its way to the pod's log and to the log in the run's directory.

The first process writes to a pipe, as torchrun does. The others, whose words torchrun throws away, connect to a
socket; what they write goes to the run's directory only.
"""

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from phi3k_trainer.replica.log import ReplicaLog

# Orphans may hold the pipe open after torchrun has ended; what is in it by then is read in a moment.
DRAIN_SECONDS = 2.0
# How torchrun (torch.distributed.elastic.multiprocessing.api) tells the first process that a signal has killed.
_KILLED = re.compile(rb"failed \(exitcode: -(?P<signal>\d+)\) local_rank: ")


class Output:
    """Reads the processes' lines in threads of its own, until `finish`."""

    def __init__(self, log: ReplicaLog, address: Path) -> None:
        """Copy what comes through the pipe to standard output and to `log`, and what comes to `address` to `log`."""
        self.killed_by: int | None = None
        """The signal that killed the first process that failed, as torchrun told it."""
        self._log = log
        reader, self.writer = os.pipe()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen()
        self._threads = [_start(self._copy_pipe, reader)]
        _start(self._accept)

    def finish(self) -> None:
        """Read what has been written until now."""
        os.close(self.writer)
        deadline = time.monotonic() + DRAIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()

    def _copy_pipe(self, reader: int) -> None:
        with os.fdopen(reader, "rb") as lines:
            for line in lines:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
                if killed := _KILLED.search(line):
                    self.killed_by = int(killed["signal"])
                self._log.write(line)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._threads.append(_start(self._copy_connection, connection))

    def _copy_connection(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            rank = lines.readline().strip()
            for line in lines:
                self._log.write(b"[" + rank + b"] " + line)


def send_output(address: Path, rank: int) -> None:
    """Send what this process writes from now on, C libraries too, to the Output at `address`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        connection.sendall(f"{rank}\n".encode())
        for stream in (sys.stdout, sys.stderr):
            os.dup2(connection.fileno(), stream.fileno())


def _start(target: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread
