"""An S3-compatible server (versitygw) over a directory, and a line to it that breaks."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
from tools.cluster.tools import VERSITYGW, build

ACCESS_KEY, SECRET_KEY = "phi3k-test", "phi3k-test-secret"
STARTS_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str
    directory: Path
    """Its buckets are directories here, their objects files in them."""
    log: Path
    """A line a request, with the status of its answer."""

    @property
    def environment(self) -> dict[str, str]:
        """What lets the usual clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self, name: str) -> str:
        """Make a bucket and return its address."""
        (self.directory / name).mkdir()
        return f"s3://{name}"

    def put(self, folder: Path, address: str) -> None:
        """Upload all files below a folder."""
        files = self._files()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files.put_file(str(path), f"{address}/{path.relative_to(folder).as_posix()}")

    def write(self, address: str, content: bytes) -> None:
        """Upload one object."""
        self._files().pipe_file(address, content)

    def remove(self, address: str) -> None:
        """Delete one object."""
        self._files().rm_file(address)

    def _files(self) -> "fsspec.AbstractFileSystem":
        options = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        return fsspec.filesystem(
            "s3",
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            client_kwargs=options | ({"verify": os.environ.get("AWS_CA_BUNDLE")} if "https" in self.endpoint else {}),
            skip_instance_cache=True,
            use_listings_cache=False,
        )


@contextmanager
def s3_server(directory: Path, *options: str, scheme: str = "http") -> Iterator[S3Server]:
    """Run a server with more `options`; its buckets lie in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    metadata = directory.with_name(f"metadata-of-{directory.name}")
    metadata.mkdir(exist_ok=True)
    port = free_port()
    command = [str(build(VERSITYGW) / "versitygw"), "--port", f"127.0.0.1:{port}", *options]
    command += ["posix", "--sidecar", str(metadata), str(directory)]
    environment = {**os.environ, "ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
    log = directory.with_name(f"{directory.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            _wait_for(port, process, log)
            yield S3Server(f"{scheme}://127.0.0.1:{port}", directory, log)
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"the S3 server doesn't answer: {log.read_text(errors='replace')}")


@dataclass
class BrokenLine:
    """A port that leads to a server, and cuts some of the answers."""

    target: int
    cuts: int
    """How many connections are cut before the rest is let through."""
    after_bytes: int
    """Bytes of an answer that get through before the cut."""
    port: int = 0
    made: int = 0
    """Cuts so far."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def open(self) -> Iterator[str]:
        """Serve until the block ends; yields the address to use."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield f"http://127.0.0.1:{self.port}"

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._forward, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, self.after_bytes), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        sent = 0
        with suppress(OSError):
            while data := source.recv(65536):
                sent += len(data)
                if limit is not None and sent > limit and self._may_cut():
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _may_cut(self) -> bool:
        with self._lock:
            if self.made >= self.cuts:
                return False
            self.made += 1
            return True
