"""Running a program in a container and exchanging bytes with it: the API's exec, over a websocket.

The connection is made here, since the client's own forgets impersonation and proxies by the client's rules.
"""

import json
import select
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from phi3k_jobs.api.cluster import CONNECT_SECONDS, Cluster
from phi3k_jobs.api.proxies import PORTS
from phi3k_jobs.api.refusals import refused
from phi3k_trainer.errors import Phi3kError, UnavailableError

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from websocket import WebSocket

PROTOCOL = "v4.channel.k8s.io"
INPUT, OUTPUT, ERRORS, STATUS = range(4)
"""The protocol's channels: the first byte of each message."""
# A running program writes something more often than this.
SILENT_SECONDS = 60.0
WRITE_BYTES = 2**17
MOST_ERROR_BYTES = 2**14


class LostError(UnavailableError):
    """The connection broke or the container has gone: another attempt may work."""


class ProgramError(Phi3kError):
    """The program has failed; its exit code is its own."""

    def __init__(self, message: str, code: int) -> None:
        """Carry the program's code."""
        super().__init__(message)
        self.exit_code = code


class Execution:
    """A program that runs in a container."""

    def __init__(self, connection: "WebSocket") -> None:
        """Take over an open connection."""
        self._connection = connection
        self._errors = b""
        self._has_ended = False

    def write(self, content: bytes) -> bytes:
        """Give the program something to read; return what it has written meanwhile.

        Raises:
            ProgramError: it has ended with an error.
            LostError: the connection broke.
        """
        from websocket import WebSocketException

        written = b""
        for begin in range(0, len(content), WRITE_BYTES):
            try:
                self._connection.send_binary(bytes([INPUT]) + content[begin : begin + WRITE_BYTES])
            except (WebSocketException, OSError) as error:
                # The program may have written the reason before it ended.
                written += b"".join(self.output())
                raise LostError(f"the connection to the pod broke: {error}") from error
            while not self._has_ended and self._is_readable():
                written += self._take()
        return written

    def output(self) -> Iterator[bytes]:
        """Yield what the program writes, in pieces, until it has ended well.

        Raises:
            ProgramError: it ended with an error, whose message is what it wrote to its other stream.
            LostError: the connection broke, or the program was killed.
        """
        while not self._has_ended:
            yield self._take()

    def _take(self) -> bytes:
        """Take the next message; return what of it is output."""
        channel, content = self._message()
        if channel == OUTPUT:
            return content
        if channel == ERRORS:
            self._errors = (self._errors + content)[:MOST_ERROR_BYTES]
        elif channel == STATUS:
            self._has_ended = True
            _check(json.loads(content), self._errors.decode("utf-8", "replace"))
        return b""

    def _is_readable(self) -> bool:
        carrier = self._connection.sock
        if isinstance(carrier, ssl.SSLSocket) and carrier.pending():
            return True
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)  # type: ignore[no-untyped-call]
        return bool(poll.poll(0))

    def _message(self) -> tuple[int, bytes]:
        from websocket import ABNF, WebSocketException

        while True:
            try:
                opcode, message = self._connection.recv_data_frame()
            except (WebSocketException, OSError) as error:
                raise LostError(f"the connection to the pod broke: {error}") from error
            if opcode == ABNF.OPCODE_CLOSE:
                raise LostError("the connection to the pod was closed before the program in it had ended")
            if message.data:
                return message.data[0], message.data[1:]


def _check(status: dict[str, Any], errors: str) -> None:
    if status.get("status") == "Success":
        return
    causes = status.get("details", {}).get("causes", [])
    code = next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), None)
    if code is None or code >= 128:
        raise LostError(f"the program in the pod was stopped: {status.get('message', '')}")
    message = errors.strip() or str(status.get("message", ""))
    raise ProgramError(message.rpartition("error: ")[2], code)


@contextmanager
def execute(cluster: Cluster, pod: str, container: str, command: Sequence[str]) -> Iterator[Execution]:
    """Run a program in a pod's container for the block.

    Raises:
        Phi3kError: it is forbidden, or the server can't be reached.
        LostError: the container does not run.
    """
    fields = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query = urlencode([*(("command", part) for part in command), *fields])
    what = f"run a program in {pod}"
    with cluster.explaining(what):
        connection = _connect(cluster, f"{cluster.path('Pod', pod)}/exec?{query}", what)
    try:
        yield Execution(connection)
    finally:
        connection.shutdown()  # type: ignore[no-untyped-call]


def _connect(cluster: Cluster, path: str, what: str) -> "WebSocket":
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError
    from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

    configuration = cluster.api.configuration
    headers = dict(cluster.api.default_headers)
    cluster.api.update_params_for_auth(headers, [], ["BearerToken"])
    connection, carrier = WebSocket(), None
    try:
        carrier = _socket(configuration)
        connection.connect(  # type: ignore[no-untyped-call]
            f"ws{configuration.host.removeprefix('http')}{path}",
            socket=carrier,
            header=headers,
            subprotocols=[PROTOCOL],
            suppress_origin=True,
        )
    except WebSocketBadStatusException as error:
        answer = ApiException(status=error.status_code, reason=str(error))
        answer.body = error.resp_body
        if error.status_code in (401, 403):
            raise refused(answer, what, cluster.context) from error
        raise LostError(str(refused(answer, what, cluster.context))) from error
    except (WebSocketException, HTTPException, OSError) as error:
        raise HTTPError(str(error)) from error
    finally:
        if carrier is not None and not connection.connected:
            carrier.close()
    connection.settimeout(SILENT_SECONDS)
    return connection


def _socket(configuration: "Configuration") -> socket.socket:
    """Return a connection to the server, through the proxy and with the certificates of every other request."""
    server = urlsplit(configuration.host)
    host, port = server.hostname or "", server.port or PORTS[server.scheme]
    if configuration.proxy:
        connection = _tunnel(configuration, host, port)
    else:
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if server.scheme != "https":
        return connection
    from urllib3.util import create_urllib3_context

    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE)
    if configuration.verify_ssl:
        context.check_hostname = True
        if configuration.ssl_ca_cert:
            context.load_verify_locations(configuration.ssl_ca_cert)
        else:
            context.load_default_certs()
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context.wrap_socket(connection, server_hostname=configuration.tls_server_name or host)


def _tunnel(configuration: "Configuration", host: str, port: int) -> socket.socket:
    proxy = urlsplit(configuration.proxy)
    if proxy.scheme != "http":
        raise UnavailableError(
            f"phi3k can't copy files through the proxy {proxy.hostname}, which uses {proxy.scheme}: name an http proxy "
            "for this cluster"
        )
    connection = HTTPConnection(proxy.hostname or "", proxy.port or PORTS["http"], timeout=CONNECT_SECONDS)
    connection.set_tunnel(host, port, headers=configuration.proxy_headers or {})
    connection.connect()
    return connection.sock
