"""A crowded cluster: 1,000 nodes with 8 GPUs each, which KWOK plays, and 2,000 runs of every kind and in every state.

Real are the API server, the scheduler, the controllers and so every Indexed Job; KWOK plays nodes and pods. No operator
runs: it would work for ten minutes on so many jobs. What operators do for a run is done here: its pod, its conditions.
The pods of the operators' jobs that have succeeded are gone, as they go with autoscaled nodes.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import yaml

from phi3k_jobs.api.cluster import Cluster as Api
from phi3k_jobs.api.connection import connect
from phi3k_jobs.kinds import KINDS as ALL_KINDS
from phi3k_jobs.render import objects
from phi3k_jobs.runs import list_runs
from phi3k_trainer.contract import KindName
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

from .certificates import Authority
from .cluster import APPLY, Cluster, up
from .errors import ClusterError
from .network import NODE_ADDRESS
from .operators import KUSTOMIZATIONS, OPERATORS, prepare
from .sandbox import Sandbox
from .tools import OPERATORS_AND_KWOK, build, module_directory

NODES = 1000
RUNS = 2000
GPUS = 8
NAMESPACE = "crowd"
# Of eight runs and of twenty runs in a row.
KINDS: tuple[KindName, ...] = ("job", "pytorchjob", "pytorchjob", "trainjob", "jobset", *("pytorchjob",) * 3)
STATES = ("Succeeded",) * 9 + ("Failed",) * 3 + ("Running",) * 6 + ("Pending", "Suspended")
OUTCOME = "phi3k-test/outcome"
KWOK_PORT = 10247
STAGES = ("node/fast/node-initialize.yaml", "pod/fast/pod-ready.yaml", "pod/fast/pod-delete.yaml")
LAST_LINE = "step 600/1000  loss 2.8000  9,000 tokens/s  ETA 1:02:03"
WRITERS = 8
Manifest = dict[str, Any]


@dataclass(frozen=True)
class CrowdedRun:
    """What `phi3k list` shall say of one of the runs."""

    name: str
    kind: KindName
    state: str


def crowd(count: int = RUNS) -> list[CrowdedRun]:
    """Return the runs: each kind is in each state."""
    return [
        CrowdedRun(f"run-{number:04}", KINDS[number % len(KINDS)], STATES[number // len(KINDS) % len(STATES)])
        for number in range(count)
    ]


@contextmanager
def crowded_cluster() -> Iterator[Cluster]:
    """A cluster of its own with the crowd in it, for the block."""
    running = up(f"crowd-{secrets.token_hex(3)}", detached=False, operators=())
    assert running.sandbox is not None
    try:
        fill(running, running.sandbox)
        yield running
    finally:
        running.sandbox.destroy()


def fill(cluster: Cluster, sandbox: Sandbox, nodes: int = NODES, runs: int = RUNS) -> None:
    """Make nodes and runs, and wait until each run is in its state."""
    start_kwok(cluster, sandbox)
    apply_definitions(cluster)
    cluster.kubectl("create", "namespace", NAMESPACE)
    api = connect(kubeconfig=str(cluster.kubeconfig), namespace=NAMESPACE)
    in_parallel(api.create, map(node, range(nodes)))
    in_parallel(api.create, claims())
    in_parallel(partial(make, api, Templates()), crowd(runs))
    expected = Counter(crowd(runs))
    deadline = time.monotonic() + 300
    while (found := seen(api)) != expected:
        if time.monotonic() > deadline:
            raise ClusterError(f"still not as they shall be: {found - expected}")
        # Seldom: each look is work that the cluster has to do besides.
        time.sleep(2)


def seen(api: Api) -> Counter[CrowdedRun]:
    """Return the runs as they are."""
    return Counter(CrowdedRun(run.name, run.kind, run.state) for run in list_runs(api))


def in_parallel(do: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Do something with each item, some at a time; the first failure is raised."""
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(do, items):
            pass


def start_kwok(cluster: Cluster, sandbox: Sandbox) -> None:
    """Start KWOK in the sandbox, as kubelet of its nodes too: the API server asks it for logs."""
    published = module_directory(OPERATORS_AND_KWOK, "sigs.k8s.io/kwok") / "kustomize" / "stage"
    log = sandbox.directory / "kwok-pod.log"
    log.write_text("".join(f"2026-01-01T00:00:00Z stdout F run  {LAST_LINE}\n" for _ in range(300)))
    logs = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "trainer"},
        "spec": {"logs": [{"logsFile": str(log)}]},
    }
    parts = [(published / stage).read_text() for stage in STAGES]
    parts += [(KUSTOMIZATIONS / "kwok.yaml").read_text(), json.dumps(logs)]
    configuration = sandbox.directory / "kwok.yaml"
    configuration.write_text("\n---\n".join(parts))
    server = Authority(sandbox.directory / "pki").issue("kwok", names=[f"IP:{NODE_ADDRESS}"])
    command = [
        str(build(OPERATORS_AND_KWOK) / "kwok"),
        f"--config={configuration}",
        f"--kubeconfig={cluster.kubeconfig}",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--node-ip={NODE_ADDRESS}",
        f"--node-port={KWOK_PORT}",
        # A lease is renewed after a quarter of it: ten a second instead of a hundred, which would take half a core.
        "--node-lease-duration-seconds=400",
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
    ]
    sandbox.spawn("kwok", command)


def apply_definitions(cluster: Cluster) -> None:
    """Apply the resource definitions of the kinds of job, as their operators publish them."""
    for operator in OPERATORS:
        if operator.tool == OPERATORS_AND_KWOK:
            manifest = prepare(operator, cluster.kubectl_program).manifests[operator.kustomizations[0]]
            documents = yaml.load_all(manifest.read_text(), Loader=yaml.CSafeLoader)
            found = [document for document in documents if document["kind"] == "CustomResourceDefinition"]
            cluster.kubectl(*APPLY, "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": found})
    cluster.wait_until_established("crd", "--all")


def node(number: int) -> Manifest:
    """Return a node as GPU nodes are: labelled by GPU feature discovery."""
    resources = {"cpu": "96", "memory": "1Ti", "ephemeral-storage": "4Ti", "pods": "110", "nvidia.com/gpu": str(GPUS)}
    name = f"gpu-{number:04}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "nvidia.com/gpu.memory": "81559"},
        },
        "status": {"capacity": resources, "allocatable": resources},
    }


def claims() -> list[Manifest]:
    """Return the claims that all runs share."""
    rendered = objects(load_recipe(ready_recipe("demo")))
    return [entry for entry in rendered if entry["kind"] == "PersistentVolumeClaim"]


class Templates:
    """The rendered job of each kind as text, in which the run's name has to be filled in."""

    NAME = "name-of-the-run"

    def __init__(self) -> None:
        self._texts = {(kind, gpus): self._render(kind, gpus) for kind in set(KINDS) for gpus in (GPUS, 2 * GPUS)}

    def _render(self, kind: KindName, gpus: int) -> str:
        sets = [f"name={self.NAME}", f"cluster.gpus={gpus}", f"cluster.gpus_per_node={gpus}"]
        return json.dumps(objects(load_recipe(ready_recipe("demo"), sets), kind=kind, wandb_run_id="abcd1234")[-1])

    def job(self, run: CrowdedRun, kind: KindName) -> Manifest:
        """Return the run as a job of that kind; one that shall stay Pending asks for more than a node has."""
        gpus = 2 * GPUS if run.state == "Pending" else GPUS
        job: Manifest = json.loads(self._texts[kind, gpus].replace(self.NAME, run.name))
        return job

    def pod_template(self, run: CrowdedRun, kind: KindName, job: Manifest) -> Manifest:
        """Change a Job's or PyTorchJob's pod so that it ends as the run shall, and return it."""
        template = ALL_KINDS[kind].pods(job)
        template["metadata"]["labels"][OUTCOME] = run.state
        # Each run's own account would be one more request for nothing.
        template["spec"].pop("serviceAccountName")
        return template


def make(api: Api, templates: Templates, run: CrowdedRun) -> None:
    """Make the run's job and, in the place of its operator, its pod and status."""
    job = templates.job(run, run.kind)
    if run.state == "Suspended":
        merge(job, ALL_KINDS[run.kind].suspension(True))
    if run.kind not in STATUS:
        templates.pod_template(run, run.kind, job)
        api.create(job)
        return
    created = api.create(job)
    if run.state in ("Running", "Failed", "Pending"):
        template = templates.pod_template(run, "pytorchjob", templates.job(run, "pytorchjob"))
        api.create(pod(run, created, template))
    status = STATUS[run.kind](run.state)
    path = f"{api.path(job['kind'], run.name)}/status"
    api.request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")


def merge(into: Manifest, patch: Manifest) -> None:
    """Apply a merge patch that removes nothing."""
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def pod(run: CrowdedRun, owner: Manifest, template: Manifest) -> Manifest:
    """Return the pod that an operator makes for the run."""
    own = {"training.kubeflow.org/replica-index": "0", "training.kubeflow.org/job-name": run.name}
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": run.name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{run.name}-master-0",
            "labels": template["metadata"]["labels"] | own,
            "ownerReferences": [reference | {"uid": owner["metadata"]["uid"], "controller": True}],
        },
        "spec": template["spec"] | {"restartPolicy": "Never"},
    }


def pytorchjob_status(state: str) -> Manifest:
    """Return what training-operator says of a job in that state."""
    conditions = [condition("Created", "PyTorchJobCreated")]
    if state in ("Running", "Succeeded", "Failed"):
        conditions.append(condition("Running", "PyTorchJobRunning", is_true=state == "Running"))
    if state in ("Succeeded", "Failed", "Suspended"):
        conditions.append(condition(state, f"PyTorchJob{state}"))
    counted = {"Running": "active", "Succeeded": "succeeded", "Failed": "failed"}
    replicas = {counted[state]: 1} if state in counted else {}
    return {"conditions": conditions, "replicaStatuses": {"Master": replicas}, "startTime": now()}


def trainjob_status(state: str) -> Manifest:
    """Return what Kubeflow Trainer says of a job in that state."""
    types = {"Succeeded": "Complete", "Failed": "Failed", "Suspended": "Suspended"}
    counts = {"active": 0, "failed": 0, "ready": int(state == "Running"), "succeeded": 0, "suspended": 0}
    return {
        "conditions": [condition(types[state], state)] if state in types else [],
        "jobsStatus": [{"name": "node", **counts}],
    }


def jobset_status(state: str) -> Manifest:
    """Return what JobSet says of a job in that state."""
    types = {"Succeeded": "Completed", "Failed": "Failed", "Suspended": "Suspended"}
    counts = {"active": 0, "failed": 0, "ready": int(state == "Running"), "succeeded": 0, "suspended": 0}
    return {
        "conditions": [condition(types[state], state)] if state in types else [],
        "replicatedJobsStatus": [{"name": "node", **counts}],
        "restarts": 0,
    }


# Of the kinds whose operator does not run here.
STATUS: dict[KindName, Callable[[str], Manifest]] = {
    "pytorchjob": pytorchjob_status,
    "trainjob": trainjob_status,
    "jobset": jobset_status,
}


def condition(kind: str, reason: str, *, is_true: bool = True) -> Manifest:
    """Return a condition that has just come."""
    changed = {"lastTransitionTime": now(), "reason": reason, "message": f"the crowd says {reason}"}
    return {"type": kind, "status": str(is_true), **changed}


def now() -> str:
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
