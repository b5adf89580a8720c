"""The pod's program as a process of its own, beside folders of this machine."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from phi3k_jobs.transfer import program
from phi3k_jobs.transfer.landing import UNFINISHED, Landing
from phi3k_jobs.transfer.parts import Entry, Listing, read_listing
from phi3k_jobs.transfer.program import Frames


def run_program(*arguments: str, asked: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run it as the pod does, without anything but the standard library."""
    command = [sys.executable, "-I", "-S", program.__file__, *arguments]
    return subprocess.run(command, input=asked, capture_output=True, timeout=60, check=False)


def listed(folder: Path) -> Listing:
    done = run_program("list", str(folder))
    assert done.returncode == 0, done.stderr
    return read_listing(json.loads(done.stdout))


def sent(folder: Path, requests: Iterable[dict[str, Any]]) -> bytes:
    """The whole stream of the files that are asked for."""
    done = run_program("send", str(folder), asked=json.dumps(list(requests)).encode() + b"\n")
    assert done.returncode == 0, done.stderr
    return done.stdout


def frames_of(stream: bytes, piece: int = 10_000) -> Iterator[tuple[int, bytes]]:
    """The frames of a stream that arrives in pieces."""
    frames = Frames()
    for begin in range(0, len(stream), piece):
        yield from frames.feed(stream[begin : begin + piece])


def landing(folder: Path) -> Landing:
    (folder / UNFINISHED).mkdir(parents=True, exist_ok=True)
    return Landing(folder)


def entry(path: str, size: int) -> Entry:
    return Entry(path, size, 0.0)
