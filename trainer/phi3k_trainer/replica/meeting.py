"""The replicas of a run wait for each other before torchrun starts: a peer without a node may take hours.

torchrun's rendezvous fails after minutes, which would count as a failed attempt. So one replica listens at the address
of the rendezvous until all are connected; then each starts torchrun, whose own limits notice a peer that dies later.
Lines of JSON go from the host to the peers, `{"waiting_for": "..."}` once a second (empty in the first line) and
`{"go": true}` at the end; each is answered with the peer's name.
"""

import errno
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from phi3k_trainer.contract import (
    MASTER_ADDRESS_VARIABLE,
    MASTER_PORT_VARIABLE,
    NODE_RANK_VARIABLE,
    NODES_VARIABLE,
    RENDEZVOUS_VARIABLE,
)

TICK_SECONDS = 1.0
CONNECT_SECONDS = 5.0
# A peer or a host that says nothing for so long was lost with its node.
SILENCE_SECONDS = 30.0
# Who accepts a connection and stays silent is torchrun's store: the host has begun. If it is about to fail, as it does
# when a peer is lost, the connection breaks within this time, and the host is waited for.
BEGUN_SECONDS = 60.0
# torchrun's own default.
DEFAULT_PORT = 29500

Waiting = Callable[[str], None]
"""Called at least every few seconds with the names of those who are waited for."""


@dataclass(frozen=True)
class MeetingPoint:
    """Where the replicas of a run meet, seen from one of them."""

    host: str
    port: int
    is_host: bool
    own_name: str
    names: tuple[str, ...]
    """Of all replicas; empty where the host's address does not tell."""
    replicas: int


def meeting_point(environment: Mapping[str, str], hostname: str) -> MeetingPoint | None:
    """Read what each kind of job tells torchrun; None for a replica that is alone.

    Args:
        environment: PET_NNODES, and PET_RDZV_ENDPOINT (an elastic PyTorchJob) or PET_MASTER_ADDR, PET_MASTER_PORT and
            PET_NODE_RANK (the others).
        hostname: This replica's.
    """
    replicas = int(environment.get(NODES_VARIABLE, "1").partition(":")[0])
    if replicas == 1:
        return None
    if endpoint := environment.get(RENDEZVOUS_VARIABLE):
        host, _, port = endpoint.rpartition(":")
    else:
        host, port = environment[MASTER_ADDRESS_VARIABLE], environment.get(MASTER_PORT_VARIABLE, str(DEFAULT_PORT))
    label = host.partition(".")[0]
    stem = re.fullmatch(r"(.*-)0", label)
    names = tuple(f"{stem[1]}{index}" for index in range(replicas)) if stem else ()
    own_name = hostname
    if rank := environment.get(NODE_RANK_VARIABLE):
        own_name = names[int(rank)] if names else f"replica {rank}"
    is_host = rank == "0" if rank else label == hostname
    return MeetingPoint(host, int(port), is_host, own_name, names, replicas)


def meet(point: MeetingPoint, waiting: Waiting, is_over: Callable[[], bool]) -> bool:
    """Wait until every replica is here, however long that takes.

    Args:
        point: Where.
        waiting: Told who is waited for.
        is_over: Looked at every few seconds: whether to wait no longer.

    Returns:
        Whether all are here; False when `is_over` ended it.
    """
    listener = _listener(point.port) if point.is_host else None
    if listener is None:
        return _visit(point, waiting, is_over)
    with listener:
        return _Host(point).receive(listener, waiting, is_over)


def _listener(port: int) -> socket.socket | None:
    """A socket for connections to `port` by IPv6 and IPv4; None where another replica of this machine has it."""
    for family, dualstack in ((socket.AF_INET6, True), (socket.AF_INET, False)):
        try:
            return socket.create_server(("", port), family=family, dualstack_ipv6=dualstack)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            if family == socket.AF_INET:
                raise
    return None


class _Lines:
    """The lines that come through a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def next(self, seconds: float) -> bytes | None:
        """The next line, None after so long without one. Raises ConnectionError when the other side has closed."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            self._connection.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                received = self._connection.recv(4096)
            except TimeoutError:
                return None
            if not received:
                raise ConnectionResetError(errno.ECONNRESET, "connection closed")
            self._rest += received
        line, _, self._rest = self._rest.partition(b"\n")
        return line


class _Host:
    """The replica that the others connect to, each served by a thread."""

    def __init__(self, point: MeetingPoint) -> None:
        self._point = point
        self._present: dict[socket.socket, str] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._all_here = False

    def receive(self, listener: socket.socket, waiting: Waiting, is_over: Callable[[], bool]) -> bool:
        """See `meet`."""
        threads: list[threading.Thread] = []
        listener.settimeout(TICK_SECONDS)
        while not self._all_here and not is_over():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                pass
            else:
                threads.append(threading.Thread(target=self._attend, args=(connection,), daemon=True))
                threads[-1].start()
            missing = self._missing()
            self._all_here = not missing
            if missing:
                waiting(missing)
        self._ended.set()
        deadline = time.monotonic() + CONNECT_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self._all_here

    def _missing(self) -> str:
        """The names of those who are not here, or how many; empty if all are."""
        with self._lock:
            here = [self._point.own_name, *self._present.values()]
        count = self._point.replicas - len(here)
        names = [name for name in self._point.names if name not in here]
        if count <= 0:
            return ""
        return ", ".join(names) if len(names) == count else f"{count} more of {self._point.replicas} replicas"

    def _attend(self, connection: socket.socket) -> None:
        """Keep one peer informed until all are here, or it is lost."""
        lines, name = _Lines(connection), ""
        with connection:
            try:
                while True:
                    ended = self._ended.wait(TICK_SECONDS if name else 0)
                    if ended and not self._all_here:
                        break
                    message = {"go": True} if ended else {"waiting_for": self._missing() if name else ""}
                    connection.sendall(json.dumps(message).encode() + b"\n")
                    answer = lines.next(SILENCE_SECONDS)
                    if ended or answer is None:
                        break
                    name = answer.decode(errors="replace")
                    with self._lock:
                        self._present[connection] = name
            except OSError:
                pass  # the peer has gone, and will come again
            with self._lock:
                self._present.pop(connection, None)


def _visit(point: MeetingPoint, waiting: Waiting, is_over: Callable[[], bool]) -> bool:
    """Wait for the host, and with it for the others."""
    host = point.names[0] if point.names else f"{point.host}:{point.port}"
    while not is_over():
        try:
            with socket.create_connection((point.host, point.port), timeout=CONNECT_SECONDS) as connection:
                if _follow(connection, point.own_name, host, waiting, is_over):
                    return True
        except OSError:
            waiting(host)
            time.sleep(TICK_SECONDS)
    return False


def _follow(connection: socket.socket, own_name: str, host: str, waiting: Waiting, is_over: Callable[[], bool]) -> bool:
    """Hear from the host who is missing; True when none is, False when the host falls silent or `is_over`."""
    lines, heard, greeted, whom = _Lines(connection), time.monotonic(), False, host
    while not is_over():
        line = lines.next(TICK_SECONDS)
        if line is not None:
            heard, greeted = time.monotonic(), True
            message = json.loads(line)
            connection.sendall(own_name.encode() + b"\n")
            if "go" in message:
                return True
            whom = message["waiting_for"]
        if whom:
            waiting(whom)
        silence = time.monotonic() - heard
        if not greeted and silence > BEGUN_SECONDS:
            return True
        if greeted and silence > SILENCE_SECONDS:
            return False
    return False
