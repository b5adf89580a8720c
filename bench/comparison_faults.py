"""What becomes of each way's job, and what its user is told, when something goes wrong on the cluster.

The stand-in plays the trainer for all: it says at which step it begins, leaves a checkpoint where the run's own files
say that checkpoints go, and ends with the code that whatever starts the trainer there would give: torchrun ends with 1
whatever its workers ended with, phi3k's entry point with 137, 143 or 74.
"""

import copy
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison_peers import (
    CREATE_JOB,
    KUBECTL,
    PODS,
    RUN,
    SUBMIT,
    TRAIN,
    Peer,
    Place,
    make_light,
    new_place,
    objects_of,
)
from kubeflow.training import TrainingClient
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import overrides

PEERS = (TRAIN, CREATE_JOB, KUBECTL, SUBMIT)
WORK = (
    "sleep 600 & worker=$!; wait $worker || { echo 'a worker died: Signal 9 (SIGKILL)' | tee $ENDED; exit %(killed)s; }"
)
HUNGRY = "x=x; while true; do x=$x$x; done"
FULL = "echo x > /dev/full || exit %(full)s"
TORCHRUN = {"killed": 1, "stopped": 1, "full": 1}
ENTRY_POINT = {"killed": 137, "stopped": 143, "full": 74}
# phi3k's entry point begins a second attempt with how the first one ended, and gives up where attempts lead nowhere.
ATTEMPTS = """
tell() { echo "{\\"exit_code\\": $1, \\"message\\": \\"$2\\"}" > /dev/termination-log; }
ENDED=/runs/ended; n=$(($(cat /runs/attempt 2>/dev/null || echo 0) + 1)); echo $n > /runs/attempt
before="attempt $n of this replica; the one before ended: $(cat $ENDED 2>/dev/null || echo killed as a whole)"
[ $n = 1 ] || echo "{\\"attempt\\": $n, \\"previous\\": null, \\"message\\": \\"$before\\"}"
[ $n -le 4 ] || { tell 70 "gave up: $before"; exit 70; }
"""
# phi3k's trainer watches its deadline itself.
DEADLINE = "late=$PHI3K_DEADLINE_SECONDS; [ -z $late ] || { sleep $late; tell 75 'the deadline has passed'; exit 75; }"


@dataclass(frozen=True)
class Fault:
    """What to break: in the job before it starts, or in the running pods; and how its cause reads."""

    title: str
    cause: str
    work: str = WORK
    change: Callable[[Any], None] | None = None
    submit: tuple[str, ...] = ()
    strike: Callable[[Place], None] | None = None
    patience: int = 60
    without: tuple[Peer, ...] = ()


@dataclass
class Story:
    """What was seen of one job: where the trainer began, in which pods, and which command told the cause."""

    begins: dict[tuple[str, int], str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    state: str = ""
    restarts: int = 0


def set_image(job: Any) -> None:
    trainer(job)["image"] = "localhost:1/none:0"


def set_secret(job: Any) -> None:
    reference = {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}
    trainer(job)["env"].append({"name": "HF_TOKEN", "valueFrom": reference})


def set_deadline(job: Any) -> None:
    job["spec"]["runPolicy"]["activeDeadlineSeconds"] = 15


def trainer(job: Any) -> Any:
    return job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]


def kill_worker(place: Place) -> None:
    for pod in pods(place):
        place.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", "kill -9 $(pidof sleep)")


def evict(place: Place) -> None:
    for pod in pods(place):
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{place.namespace}/pods/{name}/eviction"
        place.cluster.kubectl("create", "--raw", path, "-f", "-", manifest=eviction)


def drain(place: Place) -> None:
    """Drain the nodes of all peers' pods at once, and let pods in again when the old ones are gone."""
    selector = ("--pod-selector=training.kubeflow.org/job-name", "--delete-emptydir-data", "--timeout=90s")
    nodes = place.cluster.kubectl("get", "nodes", "--output=name").split()
    place.cluster.kubectl("drain", *nodes, *selector)
    time.sleep(5)
    place.cluster.kubectl("uncordon", *nodes)


HUB_SECRET = ("--set", "cluster.hf_secret=hub")
FAULTS = (
    Fault("`kill -9` of a worker", r"SIGKILL|signal 9", strike=kill_worker),
    Fault("eviction through the API", r"[Ee]vict", strike=evict),
    Fault("node drain", r"[Ee]vict|drain", strike=drain),
    Fault("OOM kill", r"OOMKilled", work=HUNGRY, patience=180),
    Fault("an image that isn't there", r"pull", change=set_image, submit=("--set", "cluster.image=localhost:1/none:0")),
    Fault("a secret that has gone", r'secret "hub" not found', change=set_secret, submit=HUB_SECRET),
    Fault("full volume", r"No space left", work=FULL, patience=120),
    Fault(
        "expired deadline", r"deadline", change=set_deadline, submit=("--set", "cluster.deadline=15s"),
        without=(TRAIN, CREATE_JOB),
    ),
)  # fmt: skip


def script(peer: Peer, fault: Fault) -> str:
    """The trainer's part: `train`'s own trainer reads no checkpoint, the others run phi3k's with a claim at /runs."""
    codes = ENTRY_POINT if peer is SUBMIT else TORCHRUN
    checkpoint = "/workspace/none" if peer is TRAIN else "/runs/step"
    lines = [
        ATTEMPTS if peer is SUBMIT else "ENDED=/dev/null",
        f"echo training begins at step $(cat {checkpoint} 2>/dev/null || echo 0)",
        "" if peer is TRAIN else f"echo 100 > {checkpoint}",
        f"trap 'echo asked to stop > $ENDED; exit {codes['stopped']}' TERM",
        "tell 74 'No space left on device'" if peer is SUBMIT and fault.work is FULL else "",
        DEADLINE if peer is SUBMIT else "",
        fault.work % codes,
    ]
    return "\n".join(line for line in lines if line)


def start(peer: Peer, fault: Fault, place: Place, objects: list[Any]) -> None:
    """Create the peer's own objects, made light, or submit with phi3k."""
    if peer is SUBMIT:
        sets = [argument for entry in overrides(script(peer, fault)) for argument in ("--set", entry)]
        secret = fault.submit == HUB_SECRET
        if secret:
            place.kubectl("create", "secret", "generic", "hub", "--from-literal=HF_TOKEN=none")
            sets += ["--set", "cluster.node_selector={ready: 'yes'}"]
        said = place.run(["phi3k", "submit", RUN, "--gpus", "0", *sets, *fault.submit])
        if said.returncode != 0:
            raise RuntimeError(said.stdout)
        if secret:
            let_start_without_secret(place)
        return
    for original in objects:
        entry = copy.deepcopy(original)
        if entry["kind"] == "PyTorchJob":
            make_light(entry, script(peer, fault))
            if fault.change:
                fault.change(entry)
        place.kubectl("apply", "--server-side", "-f", "-", manifest=entry)


def let_start_without_secret(place: Place) -> None:
    """phi3k submits nothing whose secret is missing, so it goes while the run waits for a node."""
    place.kubectl("delete", "secret", "hub")
    node = place.cluster.kubectl("get", "nodes", "--output=name").split()[0]
    place.cluster.kubectl("label", node, "ready=yes", "--overwrite")


def pods(place: Place) -> list[Any]:
    """The run's pods, without those that are on their way out."""
    return [pod for pod in place.items("pods", f"--selector={PODS}") if "deletionTimestamp" not in pod["metadata"]]


def observe(peer: Peer, fault: Fault, place: Place, story: Story) -> None:
    """Look once: where the trainer begins, what the job says, who tells the cause."""
    for pod in pods(place):
        restarts = sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
        story.restarts = max(story.restarts, restarts)
        log = place.run(["kubectl", "logs", pod["metadata"]["name"]]).stdout
        if begun := re.search(r"training begins at step (\d+)", log):
            story.begins[(pod["metadata"]["uid"], restarts)] = begun[1]
    for job in place.items("pytorchjobs"):
        holding = [entry["type"] for entry in job.get("status", {}).get("conditions", []) if entry["status"] == "True"]
        story.state = holding[-1] if holding else ""
    for number, (command, text) in enumerate(words(peer, place)):
        # A description shows the script too, which tells nothing.
        lines = [line.strip() for line in text.splitlines() if not re.search(r"\$ENDED|\$\(cat", line)]
        if number == 0 and [" / ".join(lines)] != story.said[-1:]:
            story.said.append(" / ".join(lines))
        if told := [line for line in lines if re.search(fault.cause, line)]:
            story.told.setdefault(command, told[0])


def words(peer: Peer, place: Place) -> Iterator[tuple[str, str]]:
    """What each of the peer's commands says, the first to try first."""
    if peer is SUBMIT:
        yield "`phi3k status`", place.run(["phi3k", "status", RUN]).stdout
    elif peer is KUBECTL:
        for command in (["get", "pytorchjob", RUN], ["describe", "pytorchjob", RUN], ["describe", "pod", "-l", PODS]):
            title = " ".join(command[:2])
            yield f"`kubectl {title}`", place.run(["kubectl", *command]).stdout
        yield "`kubectl logs`", place.run(["kubectl", "logs", "-l", PODS]).stdout
        yield "`kubectl logs --previous`", place.run(["kubectl", "logs", "-l", PODS, "--previous"]).stdout
    else:
        client = TrainingClient(config_file=str(place.kubeconfig), namespace=place.namespace)
        yield "`get_job_conditions`", str(client.get_job_conditions(RUN))
        try:
            logs, events = client.get_job_logs(RUN, verbose=True)
        except RuntimeError as error:
            logs, events = {"": str(error)}, {}
        yield "`get_job_logs(verbose=True)`", json.dumps(events)
        yield "`get_job_logs`", json.dumps(logs)


def is_settled(fault: Fault, story: Story) -> bool:
    if fault.change in (set_image, set_secret):
        return bool(story.told)
    return story.state == "Failed" or bool(fault.strike and len(story.begins) > 1)


def cell(story: Story) -> str:
    """What the table says of it."""
    begins = list(story.begins)
    resumed = "from its checkpoint" if list(story.begins.values())[-1:] == ["100"] else "**anew**"
    if story.state == "Failed":
        fate = f"ends, after {story.restarts} restarts" if story.restarts else "ends"
    elif len(begins) < 2:
        fate = "waits" if not begins else "runs on"
    elif story.restarts >= 3:
        fate = f"**begins again and again** ({story.restarts} times by then)"
    else:
        where = "in a new pod" if begins[0][0] != begins[-1][0] else "in its pod"
        fate = f"goes on {where}, {resumed}"
    return f"{fate}; {next(iter(story.told), 'nothing')}"


def fault_rows(cluster: Cluster, scratch: Path, wanted: str) -> Iterator[list[str]]:
    """One row a fault: its title, then each peer's fate and which command tells the cause first."""
    objects = {peer: objects_of(cluster, peer, scratch) for peer in PEERS if peer is not SUBMIT}
    with ExitStack() as stack:
        places = {peer: stack.enter_context(new_place(cluster, scratch)) for peer in PEERS}
        for fault in (fault for fault in FAULTS if wanted in fault.title):
            stories = suffer(fault, places, objects)
            for peer, story in stories.items():
                record = [fault.title, peer.program, story.state, story.restarts, list(story.begins.values())]
                print(json.dumps([*record, story.told, story.said]), file=sys.stderr, flush=True)
            cells = [cell(stories[peer]) if peer in stories else "can't be given one" for peer in PEERS]
            yield [fault.title, *cells]


def suffer(fault: Fault, places: dict[Peer, Place], objects: dict[Peer, list[Any]]) -> dict[Peer, Story]:
    """Start the run of every peer that can have the fault, let it happen, and watch to the end of it."""
    stories = {peer: Story() for peer in PEERS if peer not in fault.without}
    for peer in stories:
        start(peer, fault, places[peer], objects.get(peer, []))
    if fault.strike:
        until(lambda: all(begun(fault, peer, places[peer], story) for peer, story in stories.items()), 60)
        # One drain takes the pods of all.
        for peer in list(stories)[: 1 if fault.strike is drain else None]:
            fault.strike(places[peer])
    # Every one is looked at every time, so no generator here.
    until(lambda: all([look(fault, peer, places[peer], story) for peer, story in stories.items()]), fault.patience)  # noqa: C419
    for peer in stories:
        remove(places[peer])
    return stories


def begun(fault: Fault, peer: Peer, place: Place, story: Story) -> bool:
    if not story.begins:
        observe(peer, fault, place, story)
        story.told.clear()
        story.said.clear()
    return bool(story.begins)


def look(fault: Fault, peer: Peer, place: Place, story: Story) -> bool:
    observe(peer, fault, place, story)
    return is_settled(fault, story) and bool(story.told)


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Ask until it is so or the time has passed: what has been seen then counts."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(1)


def remove(place: Place) -> None:
    """Delete the run and its checkpoint; the claims stay for the next fault."""
    place.kubectl("delete", "pytorchjobs", "--all", "--wait=true")
    place.kubectl("delete", "pods", "--all", "--grace-period=1")
    claims = [claim["metadata"]["name"] for claim in place.items("persistentvolumeclaims")]
    if "phi3k-runs" in claims:
        sweep(place)
    until(lambda: not place.items("pods,configmaps", "--selector=phi3k/run"), 30)


def sweep(place: Place) -> None:
    """Remove the checkpoint, so that the next run begins at 0."""
    volume = {"name": "runs", "persistentVolumeClaim": {"claimName": "phi3k-runs"}}
    mount = {"name": "runs", "mountPath": "/runs"}
    container = {
        "name": "sweep",
        "image": "busybox:stable",
        "args": ["-c", "rm -f /runs/step /runs/attempt /runs/ended"],
    }
    container["volumeMounts"] = [mount]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sweep"}, "spec": spec}
    place.kubectl("create", "-f", "-", manifest=pod)
    place.kubectl("wait", "pod/sweep", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    place.kubectl("delete", "pod", "sweep")
