"""Logs of every replica on a real cluster: whole, in order, once; through waiting, crashes and broken connections."""

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from tools.cluster.stand_in import FOREVER

from .command import Command, Running

pytestmark = pytest.mark.usefixtures("nothing_left")

COUNT_TO_2000 = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i of $PET_NODE_RANK; done"
COUNT_SLOWLY = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.2; done"


def test_replicas_that_write_at_once_are_told_apart_and_lose_nothing(phi3k: Command) -> None:
    phi3k.submit("many", COUNT_TO_2000, "--kind", "job", "--set", "cluster.nodes=3")
    result = phi3k("logs", "-f", "many")
    assert result.code == 0
    by_prefix = defaultdict(list)
    for line in result.out.splitlines():
        prefix, _, text = line.partition(" ")
        by_prefix[prefix].append(text)
    assert by_prefix == {f"[{rank}]": [f"line {i} of {rank}" for i in range(1, 2001)] for rank in range(3)}


def test_one_replica_can_be_chosen(phi3k: Command) -> None:
    phi3k.submit("chosen", "echo I am $PET_NODE_RANK", "--kind", "job", "--set", "cluster.nodes=2", "--wait")
    assert phi3k("logs", "chosen", "--rank", "1").out == "[1] I am 1\n"
    missing = phi3k("logs", "chosen", "--rank", "2")
    assert missing.code == 66
    assert "no replica 2; it has: 0, 1" in missing.err


def test_a_run_that_waits_has_no_log_yet_and_is_followed_from_its_first_line(phi3k: Command) -> None:
    node = phi3k.cluster.kubectl("get", "nodes", "--output=name").split()[0]
    phi3k.submit("late", COUNT_SLOWLY, "--set", "cluster.node_selector={awaited: 'yes'}")
    early = phi3k("logs", "late")
    assert early.code == 66
    assert "phi3k status late" in early.err
    with phi3k.beside("logs", "-f", "late") as followed:
        followed.read_errors_until("Pending: ")
        phi3k.cluster.kubectl("label", node, "awaited=yes")
        try:
            assert followed.result().out.splitlines() == [f"line {i}" for i in range(1, 41)]
        finally:
            phi3k.cluster.kubectl("label", node, "awaited-")


def test_a_pod_that_is_replaced_by_another_is_followed_through(phi3k: Command) -> None:
    script = "[ -e /runs/second ] && echo second && exit 0; touch /runs/second; echo first; sleep 3; exit 1"
    phi3k.submit("restarted", script, "--kind", "trainjob")
    assert phi3k("logs", "-f", "restarted").out.split() == ["first", "second"]


def test_while_a_run_is_tried_again_the_log_before_is_shown_as_previous(phi3k: Command) -> None:
    script = f"[ -e /runs/third ] && echo second && {{ {FOREVER}; }}; touch /runs/third; echo first; exit 1"
    phi3k.submit("crashed", script, "--kind", "trainjob")
    phi3k.status_when("crashed", lambda _: phi3k("logs", "crashed").out.split() == ["second"])
    assert phi3k("logs", "crashed", "--previous").out.split() == ["first"]


def test_a_pod_that_is_made_again_under_its_name_is_followed_through(phi3k: Command) -> None:
    script = "[ -e /runs/again ] && echo second && exit 0; touch /runs/again; echo first; sleep 2; exit 143"
    phi3k.submit("remade", script, "--kind", "pytorchjob")
    assert phi3k("logs", "-f", "remade").out.split() == ["first", "second"]
    missing = phi3k("logs", "remade", "--previous")
    assert missing.code == 66
    assert "the operator has removed the pod" in missing.err


def test_the_pod_that_failed_before_is_shown_as_previous(phi3k: Command) -> None:
    script = "[ -e /runs/fourth ] && echo second && exit 0; touch /runs/fourth; echo first; exit 143"
    assert phi3k.submit("replaced", script, "--kind", "job", "--wait").code == 0
    assert phi3k("logs", "replaced").out.split() == ["second"]
    assert phi3k("logs", "replaced", "--previous").out.split() == ["first"]


def test_following_ends_when_the_run_is_cancelled(phi3k: Command) -> None:
    phi3k.submit("stopped", f"echo begun; {FOREVER}")
    with phi3k.beside("logs", "-f", "stopped") as followed:
        assert followed.read_line() == "begun\n"
        phi3k("cancel", "stopped", "--yes")
        assert followed.result().code == 0


def test_follow_and_previous_exclude_each_other(phi3k: Command) -> None:
    phi3k.submit("both", FOREVER)
    assert phi3k("logs", "both", "-f", "--previous").code == 64


class Way:
    """A way to the API server that breaks its connections, and can be closed and opened again under its address."""

    def __init__(self, server: str) -> None:
        self._server = urlsplit(server)
        self._port = 0
        self._ends: list[socket.socket] = []
        self.open()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((self._server.hostname, self._server.port))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, destination: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                destination.sendall(data)


@pytest.fixture
def way(phi3k: Command) -> Iterator[Way]:
    content = yaml.safe_load(phi3k.cluster.kubeconfig.read_text())
    opened = Way(content["clusters"][0]["cluster"]["server"])
    yield opened
    opened.close()


@pytest.fixture
def on_the_way(phi3k: Command, way: Way, tmp_path: Path) -> Command:
    """The command that reaches the API server on that way alone."""
    content = yaml.safe_load(phi3k.cluster.kubeconfig.read_text())
    section = content["clusters"][0]["cluster"]
    section.pop("certificate-authority-data", None)
    section.pop("certificate-authority", None)
    section |= {"server": way.address, "insecure-skip-tls-verify": True}
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    return Command(phi3k.cluster, phi3k.namespace, str(tmp_path / "config"))


def test_a_connection_that_breaks_again_and_again_loses_no_line_and_repeats_none(
    phi3k: Command, way: Way, on_the_way: Command
) -> None:
    phi3k.submit("broken", COUNT_SLOWLY)
    with on_the_way.beside("logs", "-f", "broken") as followed:
        assert followed.read_line() == "line 1\n"
        while not followed.has_ended():
            way.cut()
            time.sleep(1.5)
        assert followed.result().out.splitlines() == [f"line {i}" for i in range(2, 41)]


@pytest.fixture
def following(phi3k: Command, on_the_way: Command) -> Iterator[Running]:
    """`phi3k logs -f` of a run that has begun to write and goes on."""
    phi3k.submit("followed", "echo begun; while [ ! -e /runs/end ]; do sleep 0.2; done; rm /runs/end; echo ended")
    with on_the_way.beside("logs", "-f", "followed") as running:
        assert running.read_line() == "begun\n"
        yield running


def test_following_outlives_an_api_server_that_is_away_and_says_so_once(
    phi3k: Command, way: Way, following: Running
) -> None:
    way.close()
    assert "Trying again until it answers" in following.read_errors_until("does not answer")
    pod = phi3k.cluster.kubectl("get", "pods", "--namespace", phi3k.namespace, "--output=name", "-l", "phi3k/run")
    phi3k.cluster.kubectl("exec", "--namespace", phi3k.namespace, pod.strip(), "--", "touch", "/runs/end")
    time.sleep(3)
    assert not following.has_ended()
    way.open()
    result = following.result()
    assert (result.code, result.out) == (0, "ended\n")
    assert "does not answer" not in result.err


def test_following_ends_at_once_when_the_user_says_so_while_the_api_server_is_away(
    way: Way, following: Running
) -> None:
    way.close()
    following.read_errors_until("does not answer")
    following.interrupt()
    assert following.result(seconds=10).code == 130
