"""A loopback HTTP server that misbehaves on request: each path is one way of going wrong."""

import asyncio
import contextlib
import io
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator

from PIL import Image


def picture(seed: int = 0, size: int = 40) -> bytes:
    """A PNG that differs with the seed."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (seed * 37 % 256, seed * 59 % 256, seed // 256 % 256)).save(file, "PNG")
    return file.getvalue()


class HostileServer:
    """Counts what it was asked, and when."""

    def __init__(self, certificate: ssl.SSLContext | None = None) -> None:
        self.certificate = certificate
        self.requests: Counter[str] = Counter()
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.open_now = 0
        self.open_at_most = 0
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}/{path}"

    @contextlib.contextmanager
    def running(self) -> Iterator["HostileServer"]:
        started = threading.Event()
        stop = threading.Event()

        async def serve() -> None:
            # All of 127.0.0.0/8, so that a test can tell one "host" from another.
            async with await asyncio.start_server(self._answer, "0.0.0.0", 0, ssl=self.certificate) as server:
                self.port = server.sockets[0].getsockname()[1]
                started.set()
                await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
        thread.start()
        started.wait(10)
        try:
            yield self
        finally:
            stop.set()
            thread.join(10)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode().lstrip("/")
            self.requests[path] += 1
            self.times[path].append(time.monotonic())
            async with self._counted():
                await self._behave(path, writer)

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self.open_now += 1
        self.open_at_most = max(self.open_at_most, self.open_now)
        try:
            yield
        finally:
            self.open_now -= 1

    async def _behave(self, path: str, writer: asyncio.StreamWriter) -> None:  # noqa: C901 - a flat list of cases
        kind, _, argument = path.partition("/")
        match kind:
            case "good":
                await _send(writer, picture(int(argument)))
            case "slow-good":
                await asyncio.sleep(0.05)
                await _send(writer, picture(int(argument)))
            case "no-type":
                await _send(writer, picture(1), content_type=None)
            case "silent":
                await asyncio.sleep(60)
            case "drip-body":
                await _drip(writer, _head(len(picture())) + picture())
            case "drip-head":
                await _drip(writer, b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(1000)))
            case "truncated":
                await _write(writer, _head(len(picture())) + picture()[:50])
            case "truncated-once":
                body = picture() if self.requests[path] > 1 else picture()[:50]
                await _write(writer, _head(len(picture())) + body)
            case "truncated-inside":
                await _send(writer, picture()[:60])
            case "status":
                await _send(writer, b"no", status=argument)
            case "busy-once":
                status = "200" if self.requests[path] > 1 else "503"
                await _send(writer, picture(), status=status, extra=b"Retry-After: 1\r\n")
            case "busy-for-an-hour":
                await _send(writer, b"", status="429", extra=b"Retry-After: 3600\r\n")
            case "retry-after":
                status = "200" if self.requests[path] > 1 else "503"
                await _send(writer, picture(), status=status, extra=b"Retry-After: %s\r\n" % bytes.fromhex(argument))
            case "head":
                await _write(writer, bytes.fromhex(argument))
            case "page":
                await _send(writer, b"<html>Log in</html>", content_type="text/html; charset=utf-8")
            case "page-that-says-png":
                await _send(writer, b"<html>Log in</html>")
            case "endless":
                await _write(writer, b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
                while True:
                    await _write(writer, b"x" * 65536)
            case "redirects":
                await _send(writer, b"", status="302", extra=b"Location: /redirects/%d\r\n" % (int(argument) + 1))
            case "redirect-to":
                await _send(writer, b"", status="302", extra=b"Location: " + argument.encode() + b"\r\n")
            case "huge-head":
                await _write(writer, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 2_000_000 + b"\r\n\r\n")
            case "nonsense":
                await _write(writer, b"SSH-2.0-OpenSSH\r\n\r\n")
            case _:
                await _send(writer, b"not found", status="404")


def _head(length: int, status: str = "200", content_type: str | None = "image/png", extra: bytes = b"") -> bytes:
    kind = b"" if content_type is None else f"Content-Type: {content_type}\r\n".encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n".encode() + kind + extra + b"\r\n"


async def _send(
    writer: asyncio.StreamWriter,
    body: bytes,
    status: str = "200",
    content_type: str | None = "image/png",
    extra: bytes = b"",
) -> None:
    await _write(writer, _head(len(body), status, content_type, extra) + body)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        await _write(writer, bytes([byte]))
        await asyncio.sleep(0.05)
