"""Exec over a websocket, against a server that speaks its protocol and runs the command on this machine."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.client import ApiClient, Configuration
from websockets.sync.server import Server, ServerConnection, serve

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.executing import LostError, ProgramError, execute
from phi3k_trainer.errors import PermissionDeniedError, UnavailableError

ECHO = "import sys; sys.stdout.write(sys.stdin.readline().upper())"
LARGE = "import sys; sys.stdout.buffer.write(bytes(3_000_000))"


def answer(connection: ServerConnection) -> None:
    """Run what is asked for; the program's one line of input comes before its output."""
    assert connection.request is not None
    (*command,) = parse_qs(urlsplit(connection.request.path).query)["command"]
    if command[0] == "headers":
        connection.send(b"\x01" + json.dumps(dict(connection.request.headers.raw_items())).encode())
    elif command[0] == "break":
        connection.send(b"\x01begun")
        connection.close()
        return
    asked = b""
    if command[0] == ECHO:
        while not asked.endswith(b"\n"):
            message = connection.recv()
            assert isinstance(message, bytes)
            assert message[:1] == b"\0"
            asked += message[1:]
    if command[0] not in ("headers", "break"):
        done = subprocess.run([sys.executable, "-c", *command], input=asked, capture_output=True, check=False)
        for channel, content in ((1, done.stdout), (2, done.stderr)):
            for begin in range(0, len(content), 32_768):
                connection.send(bytes([channel]) + content[begin : begin + 32_768])
        connection.send(b"\x03" + json.dumps(status(done.returncode)).encode())
    else:
        connection.send(b"\x03" + json.dumps(status(0)).encode())


def status(code: int) -> dict[str, object]:
    """How the API says that a command has ended."""
    if code == 0:
        return {"status": "Success"}
    code = code if code > 0 else 128 - code
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}


@pytest.fixture
def server() -> Iterator[Server]:
    def check(connection: ServerConnection, request: object) -> object:
        path = connection.request.path if connection.request else ""
        if "forbidden" in path:
            return connection.respond(403, '{"message": "pods \\"x\\" is forbidden: User \\"me\\" cannot create"}')
        if "gone" in path:
            return connection.respond(404, '{"message": "pods \\"gone\\" not found"}')
        return None

    with serve(answer, "127.0.0.1", 0, process_request=check, subprotocols=["v4.channel.k8s.io"]) as running:  # type: ignore[arg-type,list-item]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cluster(server: Server) -> Cluster:
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    configuration.api_key["authorization"] = "Bearer secret"
    return Cluster(ApiClient(configuration), "team", "here")


def run(cluster: Cluster, *command: str, asked: bytes = b"", pod: str = "pod") -> bytes:
    with execute(cluster, pod, "trainer", command) as program:
        if asked:
            program.write(asked)
        return b"".join(program.output())


def test_a_program_reads_and_writes(cluster: Cluster) -> None:
    assert run(cluster, ECHO, asked=b"hello\n") == b"HELLO\n"


def test_more_than_one_message_arrives_in_order(cluster: Cluster) -> None:
    assert run(cluster, ECHO, asked=b"x" * 400_000 + b"\n") == b"X" * 400_000 + b"\n"
    assert run(cluster, LARGE) == bytes(3_000_000)


def test_a_program_that_fails_is_told_by_its_words_and_code(cluster: Cluster) -> None:
    with pytest.raises(ProgramError, match=r"^it is not there$") as caught:
        run(cluster, "import sys; print('error: it is not there', file=sys.stderr); sys.exit(66)")
    assert caught.value.exit_code == 66


def test_a_program_that_was_killed_is_lost(cluster: Cluster) -> None:
    with pytest.raises(LostError, match="was stopped"):
        run(cluster, "import os; os.kill(os.getpid(), 9)")


def test_a_connection_that_breaks_is_lost(cluster: Cluster) -> None:
    with pytest.raises(LostError, match="was closed before the program in it had ended"):
        run(cluster, "break")


def test_credentials_and_impersonation_go_with_it(cluster: Cluster) -> None:
    cluster.api.set_default_header("Impersonate-User", "colleague")
    headers = json.loads(run(cluster, "headers"))
    assert headers["authorization"] == "Bearer secret"
    assert headers["Impersonate-User"] == "colleague"


def test_what_may_not_be_run_is_refused(cluster: Cluster) -> None:
    with pytest.raises(PermissionDeniedError, match=r"docs/cluster\.md has the role"):
        run(cluster, ECHO, pod="forbidden")


def test_a_pod_that_has_gone_is_lost(cluster: Cluster) -> None:
    with pytest.raises(LostError, match='pods "gone" not found'):
        run(cluster, ECHO, pod="gone")


def test_a_server_that_is_not_there_is_unavailable(cluster: Cluster, server: Server) -> None:
    server.shutdown()
    server.socket.close()
    with pytest.raises(UnavailableError, match="does not answer"):
        run(cluster, ECHO)


def test_a_proxy_of_the_cluster_is_used(cluster: Cluster) -> None:
    """There is none at that port: a connection that went around it would work."""
    cluster.api.configuration.proxy = "http://127.0.0.1:1"
    with pytest.raises(UnavailableError, match="does not answer"):
        run(cluster, ECHO)
