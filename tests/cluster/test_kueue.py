"""Runs in a Kueue queue: one after the other where they don't fit together, preempted and resumed, held back."""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import FOREVER

from phi3k_jobs.kinds import KINDS

from .command import Command
from .conftest import new_namespace

# The image has gigabytes, and loading it may count as part of the first test.
pytestmark = pytest.mark.timeout(1800)

QUEUE = "team"
# Room for one run of either image, and not for two.
QUOTA = {"cpu": "150m", "memory": "1Ti", "ephemeral-storage": "1Ti"}
KUEUE = "kueue.x-k8s.io/v1beta2"
LONG, SHORT = 40, 2
PREEMPTED_FROM = 3
# Seconds for what takes ten on a machine that does nothing else.
PATIENCE = 600


def queue_objects(name: str, namespace: str) -> list[dict[str, Any]]:
    """A queue for one namespace, and a priority that preempts in it; `name` is theirs where no namespace is."""
    quotas = [{"name": resource, "nominalQuota": quota} for resource, quota in QUOTA.items()]
    spec = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": list(QUOTA), "flavors": [{"name": name, "resources": quotas}]}],
    }
    local = {"metadata": {"name": QUEUE, "namespace": namespace}, "spec": {"clusterQueue": name}}
    return [
        {"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": name}},
        {"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": KUEUE, "kind": "LocalQueue", **local},
        {"apiVersion": KUEUE, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": 100},
    ]


@dataclass(frozen=True)
class Queue:
    """The command in a namespace with a queue, and the priority class that preempts there."""

    phi3k: Command
    priority: str

    def options(self, *, urgent: bool) -> list[str]:
        """What puts a run in the queue."""
        own = [f"cluster.queue={QUEUE}", *([f"cluster.queue_priority={self.priority}"] if urgent else [])]
        return [option for override in own for option in ("--set", override)]

    def submit(self, name: str, script: str, kind: str, *, urgent: bool = False) -> None:
        """Submit a run of the image that stands in for the trainer's."""
        # Not the few of other tests: two may not fit the quota.
        cpu = "cluster.resources={cpu: 100m, memory: 64Mi, shared_memory: 16Mi, ephemeral_storage: 64Mi}"
        result = self.phi3k.submit(name, script, "--kind", kind, "--set", cpu, *self.options(urgent=urgent))
        assert result.code == 0, result.err

    def train(self, name: str, image: str, steps: int, *, urgent: bool = False) -> None:
        """Submit a run of the product's image that makes so many steps."""
        overrides = (
            "data.sample.rows=60",
            "data.eval_fraction=0.2",
            "training.epochs=100",
            f"training.max_steps={steps}",
            "evaluation.max_samples=4",
            "evaluation.max_new_tokens=4",
            f"cluster.image={image}",
            "cluster.gpus=0",
            "cluster.resources={cpu: 100m, memory: 4Gi, shared_memory: 64Mi, ephemeral_storage: 1Gi}",
            # A line for each step.
            "cluster.log_format=json",
        )
        sets = [option for override in overrides for option in ("--set", override)]
        sets += self.options(urgent=urgent)
        result = self.phi3k("submit", "demo", "--name", name, "--kind", "pytorchjob", *sets)
        assert result.code == 0, result.err


@pytest.fixture(scope="module")
def queue(cluster: Cluster) -> Iterator[Queue]:
    """A queue of this module's own, in a namespace that enforces the `restricted` policy."""
    priority = f"phi3k-test-{secrets.token_hex(4)}"
    with new_namespace(cluster) as namespace:
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        items = queue_objects(priority, namespace)
        try:
            cluster.kubectl("create", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": items})
            yield Queue(Command(cluster, namespace, str(cluster.kubeconfig)), priority)
        finally:
            kinds = ("workloadpriorityclass", "clusterqueue", "resourceflavor")
            named = [f"{kind}/{priority}" for kind in kinds]
            # Kueue lets a queue go once no job uses it: the namespace takes those along.
            cluster.kubectl("delete", *named, "--ignore-not-found", "--wait=false")


@pytest.fixture
def empty_queue(queue: Queue) -> Iterator[Queue]:
    """The queue, emptied before the test and after it."""
    queue.phi3k.cancel_all()
    yield queue
    queue.phi3k.cancel_all()


@dataclass(frozen=True)
class History:
    """What `phi3k status` said of three runs in their queue, in its order, and `phi3k logs -f` of the preempted one."""

    second_waiting: Any
    preempted: Any
    while_preempted: dict[str, str]
    resumed: Any
    second_ran: tuple[datetime, datetime]
    """When the container of `second` started and finished, to the second."""
    ended: dict[str, str]
    log: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of the log that are records."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    @property
    def saved_step(self) -> int:
        """The step of the checkpoint that the preempted run says it saved."""
        (last_words,) = (record for record in self.records if record.get("exit_code") == 143)
        return int(last_words["step"])


@pytest.fixture(scope="module")
def history(queue: Queue, product_image: str, tmp_path_factory: pytest.TempPathFactory) -> History:
    """`first` trains, `second` waits for its place, `urgent` takes it from `first`; all three come to their end."""
    phi3k, log = queue.phi3k, tmp_path_factory.mktemp("followed") / "log"
    queue.train("first", product_image, LONG)
    with follower(phi3k, "first", log) as following:
        queue.train("second", product_image, SHORT)
        waiting = phi3k.status_when("second", lambda status: "insufficient unused quota" in status["cause"])
        phi3k.status_when("first", has_made(PREEMPTED_FROM), PATIENCE)
        queue.train("urgent", product_image, SHORT, urgent=True)
        preempted = phi3k.status_when("first", lambda status: status["state"] == "Queued")
        while_preempted = states(phi3k)
        assert phi3k("wait", "urgent").code == 0
        resumed = phi3k.status_when(
            "first", lambda status: status["state"] == "Running" and has_made(1)(status), PATIENCE
        )
        assert phi3k("wait", "second").code == 0
        following.wait(60)
    second_ran = container_time(phi3k, "second", "startedAt"), container_time(phi3k, "second", "finishedAt")
    return History(waiting, preempted, while_preempted, resumed, second_ran, states(phi3k), log.read_text())


def container_time(phi3k: Command, name: str, which: str) -> datetime:
    """When the container of a run's only pod started or finished."""
    path = f"--output=jsonpath={{.items[0].status.containerStatuses[0].state.terminated.{which}}}"
    time = phi3k.cluster.kubectl("get", "pods", "--namespace", phi3k.namespace, f"--selector=phi3k/run={name}", path)
    return datetime.fromisoformat(time)


def has_made(steps: int) -> Callable[[Any], bool]:
    """Whether a status tells of so many steps or more."""
    return lambda status: status["progress"] is not None and status["progress"]["step"] >= steps


def follower(phi3k: Command, name: str, log: Path) -> "subprocess.Popen[bytes]":
    """`phi3k logs -f` of a run, which writes into a file."""
    where = ("--kubeconfig", phi3k.kubeconfig, "--namespace", phi3k.namespace)
    with log.open("wb") as file:
        return subprocess.Popen([Path(sys.executable).with_name("phi3k"), "logs", "-f", name, *where], stdout=file)


def states(phi3k: Command) -> dict[str, str]:
    """The state of each run, as `phi3k list` tells it."""
    return {run["name"]: run["state"] for run in phi3k("list", "--output", "json").json}


def test_a_run_that_does_not_fit_beside_another_waits_and_says_in_which_queue_and_why(history: History) -> None:
    assert history.second_waiting["state"] == "Queued"
    assert f"in the queue {QUEUE}:" in history.second_waiting["cause"]
    assert "insufficient unused quota for cpu" in history.second_waiting["cause"]
    assert history.second_waiting["action"] == "it starts by itself once there is room"


def test_it_starts_by_itself_and_never_runs_beside_the_other(history: History) -> None:
    """Which of the two Kueue lets go on after the urgent one is its own business."""
    assert history.ended["second"] == "Succeeded"
    started, finished = history.second_ran
    written = [datetime.fromtimestamp(record["time"], UTC) for record in history.records if "time" in record]
    assert len(written) > LONG
    assert finished - started > timedelta(seconds=1)
    # It may have started up to a second after the time that is told.
    assert [time for time in written if started + timedelta(seconds=1) < time < finished] == []


def test_a_run_of_higher_priority_takes_the_place_of_one_that_runs(history: History) -> None:
    assert "Kueue has preempted it" in history.preempted["cause"]
    assert f"in the queue {QUEUE}:" in history.preempted["cause"]
    assert "resumes from its last checkpoint" in history.preempted["action"]
    assert history.while_preempted["second"] == "Suspended", "the place is not for those that waited"


def test_the_preempted_run_saves_and_later_goes_on_at_the_saved_step(history: History) -> None:
    assert PREEMPTED_FROM <= history.saved_step < LONG
    resumed = re.search(r"continuing from \S+/step-(\d+)", history.log)
    assert resumed is not None
    assert int(resumed[1]) == history.saved_step
    assert history.resumed["progress"]["step"] > history.saved_step


def test_no_step_is_lost_or_made_twice_in_a_followed_log(history: History) -> None:
    steps = [record["step"] for record in history.records if "train/loss" in record.get("metrics", {})]
    assert steps == list(range(1, LONG + 1))


def test_all_of_them_succeed(history: History) -> None:
    assert history.ended == {"first": "Succeeded", "second": "Succeeded", "urgent": "Succeeded"}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_job_is_queued_preempted_and_started_again(empty_queue: Queue, kind: str) -> None:
    phi3k, common, urgent = empty_queue.phi3k, f"common-{kind}", f"urgent-{kind}"
    empty_queue.submit(common, f"echo begun; {FOREVER}", kind)
    phi3k.status_when(common, lambda status: status["state"] == "Running")
    empty_queue.submit(urgent, "sleep 3", kind, urgent=True)
    phi3k.status_when(common, lambda status: "preempted" in status["cause"])
    assert phi3k("wait", urgent).code == 0
    phi3k.status_when(common, lambda status: status["state"] == "Running")
    assert phi3k("logs", common).out == "begun\n"


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("kind", KINDS)
def test_a_suspended_run_leaves_its_place_to_others_until_it_is_resumed(empty_queue: Queue, kind: str) -> None:
    """Kueue would start its job again at once, had only that been suspended."""
    phi3k, held, other = empty_queue.phi3k, f"held-{kind}", f"other-{kind}"
    empty_queue.submit(held, FOREVER, kind)
    phi3k.status_when(held, lambda status: status["state"] == "Running")
    assert phi3k("suspend", held).code == 0
    suspended = phi3k.status_when(held, lambda status: status["state"] == "Suspended")
    assert f"phi3k resume {held}" in suspended["action"]
    assert phi3k("suspend", held).code == 64
    empty_queue.submit(other, FOREVER, kind)
    phi3k.status_when(other, lambda status: status["state"] == "Running")
    assert phi3k("resume", held).code == 0
    waiting = phi3k.status_when(held, lambda status: status["state"] == "Queued")
    assert f"in the queue {QUEUE}:" in waiting["cause"]
    refused = phi3k("resume", held)
    assert refused.code == 64
    assert f"{held} is not suspended: it is Queued" in refused.err
    phi3k("cancel", other, "--yes")
    phi3k.status_when(held, lambda status: status["state"] == "Running")
