"""Replicas wait for each other, however far apart they come, and say for whom."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from phi3k_trainer.replica import meeting
from phi3k_trainer.replica.meeting import MeetingPoint, meet, meeting_point

NAMES = ("demo-worker-0", "demo-worker-1", "demo-worker-2")
PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "TICK_SECONDS", 0.05)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Replica(threading.Thread):
    """One that waits, and whom it waits for."""

    def __init__(self, port: int, index: int, names: tuple[str, ...] = NAMES) -> None:
        super().__init__(daemon=True)
        self.waiting_for: list[str] = []
        self.stopped = threading.Event()
        self._point = MeetingPoint("127.0.0.1", port, index == 0, NAMES[index], names, 3)
        self._met: list[bool] = []
        self.start()

    def run(self) -> None:
        self._met.append(meet(self._point, self.waiting_for.append, self.stopped.is_set))

    def met(self) -> bool:
        self.join(PATIENCE_SECONDS)
        return self._met == [True]

    def waits_for(self, names: str) -> None:
        until(lambda: self.waiting_for and self.waiting_for[-1] == names)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def silent_store(port: int) -> Iterator[socket.socket]:
    """What torchrun's store looks like to one who sends nothing."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        yield listener


@pytest.mark.parametrize(
    ("environment", "hostname", "expected"),
    [
        (  # an elastic PyTorchJob
            {"PET_NNODES": "3:3", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "demo-worker-0:23456"},
            "demo-worker-0",
            MeetingPoint("demo-worker-0", 23456, True, "demo-worker-0", NAMES, 3),
        ),
        (
            {"PET_NNODES": "3:3", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "demo-worker-0:23456"},
            "demo-worker-2",
            MeetingPoint("demo-worker-0", 23456, False, "demo-worker-2", NAMES, 3),
        ),
        (  # a Job
            {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "demo-0.demo", "PET_MASTER_PORT": "23456"},
            "demo-1",
            MeetingPoint("demo-0.demo", 23456, False, "demo-1", ("demo-0", "demo-1"), 2),
        ),
        (  # a TrainJob
            {"PET_NNODES": "2", "PET_NODE_RANK": "0", "PET_MASTER_ADDR": "demo-node-0-0.demo"},
            "demo-node-0-0",
            MeetingPoint("demo-node-0-0.demo", 29500, True, "demo-node-0-0", ("demo-node-0-0", "demo-node-0-1"), 2),
        ),
        (  # a JobSet
            {
                "PET_NNODES": "2",
                "PET_NODE_RANK": "1",
                "PET_MASTER_ADDR": "demo-node-0-0.demo",
                "PET_MASTER_PORT": "23456",
            },
            "demo-node-0-1",
            MeetingPoint("demo-node-0-0.demo", 23456, False, "demo-node-0-1", ("demo-node-0-0", "demo-node-0-1"), 2),
        ),
        (  # addresses that don't count replicas
            {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "10.0.0.7", "PET_MASTER_PORT": "23456"},
            "gpu-host",
            MeetingPoint("10.0.0.7", 23456, False, "replica 1", (), 2),
        ),
    ],
)
def test_each_kind_of_job_says_where_its_replicas_meet(
    environment: Mapping[str, str], hostname: str, expected: MeetingPoint
) -> None:
    assert meeting_point(environment, hostname) == expected


@pytest.mark.parametrize("environment", [{}, {"PET_NNODES": "1"}, {"PET_NNODES": "1:1"}])
def test_a_replica_that_is_alone_meets_nobody(environment: Mapping[str, str]) -> None:
    assert meeting_point(environment, "demo-0") is None


@pytest.mark.parametrize("first", [0, 2], ids=["the-host", "another"])
def test_whoever_comes_first_waits_and_names_who_is_missing(port: int, first: int) -> None:
    early = Replica(port, first)
    early.waits_for("demo-worker-1, demo-worker-2" if first == 0 else "demo-worker-0")
    second = Replica(port, 2 - first)
    early.waits_for("demo-worker-1")
    second.waits_for("demo-worker-1")
    third = Replica(port, 1)
    assert all(replica.met() for replica in (early, second, third))


def test_replicas_of_one_machine_have_one_name_and_the_first_to_come_listens(port: int) -> None:
    replicas = [Replica(port, 0) for _ in range(3)]
    assert all(replica.met() for replica in replicas)


def test_a_peer_that_leaves_is_waited_for_again(port: int) -> None:
    host, other, leaving = (Replica(port, index) for index in (0, 1, 2))
    assert [one.met() for one in (host, other, leaving)] == [True] * 3

    host, leaving = Replica(port, 0), Replica(port, 2)
    host.waits_for("demo-worker-1")
    leaving.stopped.set()
    assert not leaving.met()
    host.waits_for("demo-worker-1, demo-worker-2")
    host.stopped.set()
    assert not host.met()


def test_a_host_that_leaves_is_waited_for_by_its_name(port: int) -> None:
    host, peer = Replica(port, 0), Replica(port, 1)
    peer.waits_for("demo-worker-2")
    host.stopped.set()
    peer.waits_for("demo-worker-0")
    peer.stopped.set()


def test_without_names_the_missing_are_counted(port: int) -> None:
    host = Replica(port, 0, names=())
    host.waits_for("2 more of 3 replicas")
    peer = Replica(port, 1, names=())
    host.waits_for("1 more of 3 replicas")
    until(lambda: peer.waiting_for)
    assert set(peer.waiting_for) == {"1 more of 3 replicas"}, "not itself, and not the host, which is there"
    for replica in (host, peer):
        replica.stopped.set()


def test_a_host_that_has_begun_is_joined_through_torchrun(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "BEGUN_SECONDS", 0.5)
    with silent_store(port):
        late = Replica(port, 1)
        assert late.met()


def test_a_host_whose_attempt_is_just_failing_is_waited_for(port: int) -> None:
    with silent_store(port) as listener:
        late = Replica(port, 1)
        connection, _ = listener.accept()
        connection.close()
    host, third = Replica(port, 0), Replica(port, 2)
    assert all(replica.met() for replica in (late, host, third))
