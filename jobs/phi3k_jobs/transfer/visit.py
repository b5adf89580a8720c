"""The transfer pod beside a claim, and the program in it that copies files."""

import json
import secrets
import string
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.executing import Execution, LostError, execute
from phi3k_jobs.causes.replicas import container_of, current_pods, is_running, pod_selector
from phi3k_jobs.objects.around import claim, service_account
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RUN_LABEL, labels
from phi3k_jobs.runs import FINISHED, Run, cancel, find_run
from phi3k_jobs.submit.short_job import ShortJobError, run_short_job, short_job
from phi3k_jobs.submit.submission import send_objects
from phi3k_jobs.transfer import program
from phi3k_jobs.transfer.program import Frames
from phi3k_jobs.watch.diagnosis import Diagnosis, diagnose
from phi3k_jobs.watch.facts import gather
from phi3k_jobs.watch.logs import Line
from phi3k_jobs.watch.waiting import exit_code, on_change, refreshed, until_answered
from phi3k_trainer.contract import PYTHON, RECIPES, RUNS
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.cluster import ClaimSection

# It reads files and hashes them.
RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
STORAGE = "256Mi"
PROGRAM = f"{RECIPES}/transfer.py"
IDLE_SECONDS = 120
KEEP_SECONDS = 60
POLL_SECONDS = 0.5
_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Place:
    """A folder on a claim, and what may be done there."""

    section: ClaimSection
    mount: str
    folder: str
    """Below the mount."""
    can_write: bool = False

    @property
    def path(self) -> str:
        """Where the pod sees it."""
        return f"{self.mount}/{self.folder}"


def directory_of(recipe: Recipe, run: str) -> Place:
    """Return the place of a run's directory."""
    return Place(recipe.cluster.runs, RUNS, run)


@dataclass(frozen=True)
class Callbacks:
    """Called with what a pod waits for, with notes, and with lines of its log."""

    tell: Callable[[Diagnosis], None]
    notice: Callable[[str], None]
    show: Callable[[Line], None]


def transfer_objects(recipe: Recipe, run: str, place: Place, arguments: list[str]) -> list[Manifest]:
    """Return the objects of a pod that runs the program beside a claim. The Job is the last.

    It has a name of its own, so that several can run at once. It has neither network nor secrets, and ends by itself.
    """
    named = _named(recipe, run)
    storage = {"ephemeral-storage": STORAGE}
    job = short_job(
        named,
        "transfer",
        [PYTHON, "-I", PROGRAM],
        arguments,
        resources={which: {**held, **storage} for which, held in RESOURCES.items()},
        mounts=[{"name": "claim", "mountPath": place.mount, "readOnly": not place.can_write}],
        volumes=[{"name": "claim", "persistentVolumeClaim": {"claimName": place.section.claim}}],
        keep_seconds=KEEP_SECONDS,
    )
    if "ReadWriteMany" not in place.section.access_modes:
        _prefer_node_of(run, job["spec"]["template"]["spec"])
    guards = [service_account(named)] if named.cluster.pod.service_account is None else []
    if named.cluster.network_policy:
        guards.append(_no_network(named))
    return [_program(named), *guards, job]


def _named(recipe: Recipe, run: str) -> Recipe:
    """Return the recipe under the pod's own name, without what copying does not need."""
    needless: dict[str, object] = {"wandb_secret": None, "hf_secret": None, "topology": None, "gpus": 0, "nodes": None}
    pod = recipe.cluster.pod.model_copy(
        update={"env_from": (), "env_secrets": {}, "volumes": (), "resource_claims": (), "host_network": False}
    )
    resources = recipe.cluster.resources.model_copy(update={"ephemeral_storage": STORAGE})
    cluster = recipe.cluster.model_copy(update={**needless, "env": {}, "pod": pod, "resources": resources})
    suffix = "".join(secrets.choice(_LETTERS) for _ in range(5))
    return recipe.model_copy(update={"name": f"{run}-transfer-{suffix}", "cluster": cluster})


def _program(named: Recipe) -> Manifest:
    """Return the ConfigMap with the program: the image may have another version of it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": named.name, "labels": labels(named, "transfer")},
        "data": {Path(PROGRAM).name: Path(program.__file__).read_text(encoding="utf-8")},
    }


def _no_network(named: Recipe) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": named.name, "labels": labels(named, "network")},
        "spec": {"podSelector": {"matchLabels": {RUN_LABEL: named.name}}, "policyTypes": ["Ingress", "Egress"]},
    }


def _prefer_node_of(run: str, pod: Manifest) -> None:
    """Ask for the node of the run's own pods, since the claim can be on one node only."""
    term = {"labelSelector": {"matchLabels": {RUN_LABEL: run}}, "topologyKey": "kubernetes.io/hostname"}
    near = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    pod.setdefault("affinity", {}).setdefault("podAffinity", near)


def check_claim(cluster: Cluster, place: Place) -> None:
    """Refuse a claim that does not exist, for which a pod would wait forever.

    Raises:
        MissingInputError: the namespace has no such claim.
    """
    claim = place.section.claim
    if cluster.get("PersistentVolumeClaim", claim) is None:
        raise MissingInputError(
            f"namespace {cluster.namespace} of context {cluster.context} has no claim {claim} for the runs: name "
            "another with --set cluster.runs.claim=NAME, or another namespace with --namespace"
        )


def check_rights(cluster: Cluster) -> None:
    """Refuse to begin a copy that the user has no right to make.

    Raises:
        PermissionDeniedError: programs may not be run in pods.
    """
    if not cluster.allowed("create", "Pod", subresource="exec"):
        raise PermissionDeniedError(
            f"you may not create pods/exec in namespace {cluster.namespace}, which is needed to copy files into and "
            "out of pods: docs/cluster.md has the role. `phi3k ls` works without it"
        )


def ask(cluster: Cluster, recipe: Recipe, run: str, callbacks: Callbacks) -> Any:
    """Return the files of a run, through the log of the pod: this needs no right to run programs.

    Raises:
        ShortJobError: it failed; the message is its own.
        Phi3kError: the cluster refuses it.
    """
    place = directory_of(recipe, run)
    objects = transfer_objects(recipe, run, place, ["list", place.path])
    return run_short_job(cluster, [], objects, show=callbacks.show, tell=callbacks.tell, notice=callbacks.notice)


class Visit:
    """A pod beside a claim, which is created again when it is lost."""

    def __init__(self, cluster: Cluster, recipe: Recipe, run: str, place: Place, callbacks: Callbacks) -> None:
        """Send nothing yet."""
        self._cluster = cluster
        self._recipe = recipe
        self._name = run
        self._place = place
        self._callbacks = callbacks
        self._run: Run | None = None

    def listing(self) -> Any:
        """Return what the program lists.

        Raises:
            LostError: the pod or the connection broke.
            Phi3kError: there is no such run, or the pod can't start.
        """
        with self.program("list") as program:
            return json.loads(b"".join(program.output()))

    def frames(self, requests: Iterable[dict[str, Any]]) -> Iterator[tuple[int, bytes]]:
        """Yield the frames of the files that are asked for.

        Raises:
            LostError: the pod or the connection broke before the last one.
            FormError: something other than the program answers.
            Phi3kError: the pod can't start.
        """
        frames = Frames()
        with self.program("send") as program:
            yield from frames.feed(program.write(line_of(requests)))
            for piece in program.output():
                yield from frames.feed(piece)
        if not frames.is_done:
            raise LostError("the program in the pod ended before all files were sent")

    @contextmanager
    def program(self, verb: str) -> Iterator[Execution]:
        """The program in the pod, for the block.

        Raises:
            LostError: the pod or the connection broke.
            Phi3kError: the pod can't start.
        """
        pod = self._pod()
        command = [PYTHON, "-I", PROGRAM, verb, self._place.path]
        with execute(self._cluster, pod["metadata"]["name"], container_of(pod), command) as running:
            yield running

    def _pod(self) -> Manifest:
        """Return the pod once it runs; if its Job has gone or ended, another is created.

        Raises:
            ShortJobError: it can't run.
        """
        while True:
            run = self._run and refreshed(self._cluster, self._run, self._callbacks.notice)
            if run is None or run.state == "Succeeded":
                self._begin()
            elif (pod := self._wait(run)) is not None:
                return pod

    def _begin(self) -> None:
        self.end()
        objects = transfer_objects(self._recipe, self._name, self._place, ["keep", str(IDLE_SECONDS)])
        shared = claim(self._place.section)
        may_make = self._place.can_write and self._place.section.create
        is_missing = may_make and self._cluster.get(shared["kind"], shared["metadata"]["name"]) is None
        send_objects(self._cluster, [shared] if is_missing else [], objects)
        self._run = find_run(self._cluster, objects[-1]["metadata"]["name"])

    def _wait(self, run: Run) -> Manifest | None:
        """Return the running pod of the Job, None if the Job has gone or succeeded."""
        notice, tell = self._callbacks.notice, on_change(self._callbacks.tell)
        selector = pod_selector(run.name)
        now: Run | None = run
        while now is not None and now.state != "Succeeded":
            pods = until_answered(lambda: list(self._cluster.list("Pod", label_selector=selector)), notice)
            for pod in current_pods(pods):
                if is_running(pod) and "deletionTimestamp" not in pod["metadata"]:
                    return pod
            found = until_answered(lambda now=now: diagnose(gather(self._cluster, now)), notice)  # type: ignore[misc]
            if now.state in FINISHED:
                raise ShortJobError(f"the pod that copies files failed: {found.cause}", exit_code(found))
            tell(found)
            time.sleep(POLL_SECONDS)
            now = refreshed(self._cluster, run, notice)
        return None

    def end(self) -> None:
        """Remove the pod, if there is one. A pod that can't be removed ends by itself when it gets no requests."""
        if self._run is not None:
            run, self._run = self._run, None
            cancel(self._cluster, run)


@contextmanager
def visiting(cluster: Cluster, recipe: Recipe, run: str, place: Place, callbacks: Callbacks) -> Iterator[Visit]:
    """A pod for the block; it is created when it is first needed."""
    visit = Visit(cluster, recipe, run, place, callbacks)
    try:
        yield visit
    finally:
        visit.end()


def line_of(requests: Iterable[dict[str, Any]]) -> bytes:
    """Return what the program reads first: one line of JSON."""
    return json.dumps(list(requests)).encode() + b"\n"
