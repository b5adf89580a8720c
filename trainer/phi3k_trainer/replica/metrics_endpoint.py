"""Prometheus metrics of one replica, in the text format 0.0.4, served by the entry point from the health file.

PHI3K_METRICS_PORT turns it on. The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

from phi3k_trainer.replica.health import LIMITS
from phi3k_trainer.replica.health_check import read_health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Fields of the health file that are metrics as they stand.
FIELDS: Mapping[str, str] = {
    "step": "Optimiser steps done.",
    "total_steps": "Optimiser steps of the whole run, 0 until it is known.",
    "samples": "Samples seen.",
    "tokens": "Tokens seen, padding excluded.",
    "loss": "Loss of the last step.",
    "tokens_per_second": "Tokens a second in the last step, of all replicas together.",
}


def exposition(health: Mapping[str, Any] | None, restarts: int, now: float) -> str:
    """Return the metrics as text; what is not known yet is left out.

    Args:
        health: What the health file holds, None where there is none.
        restarts: Times that this replica was started again.
        now: Time in seconds since 1970.
    """
    return "".join(f"{line}\n" for line in _lines(health, restarts, now))


def _lines(health: Mapping[str, Any] | None, restarts: int, now: float) -> Iterator[str]:
    yield from _gauge("restarts", "Times that this replica was started again.", restarts)
    if health is None:
        return
    for name, explanation in FIELDS.items():
        if health[name] is not None:
            yield from _gauge(name, explanation, health[name])
    yield from _gauge("seconds_since_progress", "Seconds since the run last moved.", round(now - health["time"], 3))
    yield from _gauge(
        "progress_limit_seconds", "Seconds without progress after which the pod is not ready.", health["limit_seconds"]
    )
    yield from _head("phase", "What the run is doing: 1 for the phase it is in.")
    for phase in LIMITS:
        yield f'phi3k_phase{{phase="{phase}"}} {int(phase == health["phase"])}'


def _gauge(name: str, explanation: str, value: float) -> Iterator[str]:
    yield from _head(name, explanation)
    yield f"phi3k_{name} {value}"


def _head(name: str, explanation: str) -> Iterator[str]:
    yield f"# HELP phi3k_{name} {explanation}"
    yield f"# TYPE phi3k_{name} gauge"


# http.server's own would ask the DNS for this host's name first, and there may be none.
class MetricsServer(ThreadingTCPServer):
    """Answers GET /metrics; over IPv4 and IPv6 where there are both."""

    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def __init__(self, port: int, health_file: Path, restarts: int) -> None:
        """Listen on `port`, 0 being any that is free."""
        self.health_file = health_file
        self.restarts = restarts
        super().__init__(("", port), _Handler)

    def server_bind(self) -> None:
        """Bind the socket for both families."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = 10.0

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="the metrics are at /metrics")
            return
        health = read_health(str(self.server.health_file))
        body = exposition(health, self.server.restarts, time.time()).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a scrape every few seconds is no news."""


def serve_metrics(port: int, health_file: Path, restarts: int) -> MetricsServer:
    """Serve the metrics in a thread that ends with the process.

    Raises:
        OSError: the port is taken.
    """
    server = MetricsServer(port, health_file, restarts)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
