"""A short Job beside a claim, without a GPU: it is placed, queued and isolated as the recipe's run is.

It is a run with its own name, so that status, logs and diagnosis work with it.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.kinds.job import JOB
from phi3k_jobs.objects import additions
from phi3k_jobs.objects.job_spec import pod_failure_policy
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import job_labels, labels
from phi3k_jobs.objects.overlay import overlaid
from phi3k_jobs.objects.pod import (
    container_security_context,
    env_sources,
    environment,
    placement,
    pod_metadata,
    pod_security_context,
)
from phi3k_jobs.runs import cancel, find_run
from phi3k_jobs.submit.submission import send_objects
from phi3k_jobs.watch.diagnosis import Diagnosis
from phi3k_jobs.watch.following import follow_logs
from phi3k_jobs.watch.logs import Line
from phi3k_jobs.watch.waiting import exit_code, wait_for_end
from phi3k_trainer.contract import RECIPES, SCRATCH
from phi3k_trainer.errors import Phi3kError
from phi3k_trainer.recipe import Recipe


class ShortJobError(Phi3kError):
    """The Job has failed; it has the exit code of its process."""

    def __init__(self, message: str, code: int) -> None:
        """Carry the code of the process in the cluster."""
        super().__init__(message)
        self.exit_code = code


def short_job(
    named: Recipe,
    component: str,
    command: Sequence[str],
    arguments: Sequence[str],
    *,
    resources: Manifest,
    mounts: Sequence[Manifest],
    volumes: Sequence[Manifest],
    keep_seconds: int,
) -> Manifest:
    """Return the Job of one pod that runs a process beside the claims in `volumes`.

    Args:
        named: The recipe under the Job's own name, without what the process does not need.
        component: What the Job is for, in its labels.
        command: The program.
        arguments: Its arguments.
        resources: Requests and limits.
        mounts: Where the container sees the volumes; the ConfigMap of the Job's name and scratch space are added.
        volumes: What it mounts.
        keep_seconds: How long the cluster keeps the Job after its end.
    """
    cluster = named.cluster
    container: Manifest = {
        "name": JOB.container,
        "image": cluster.image,
        "imagePullPolicy": cluster.image_pull_policy,
        "command": list(command),
        "args": list(arguments),
        "env": environment(named, None),
        **env_sources(cluster),
        "resources": resources,
        "securityContext": container_security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "recipe", "mountPath": RECIPES, "readOnly": True},
            *mounts,
            {"name": "scratch", "mountPath": SCRATCH},
            *additions.mounts(cluster.pod),
        ],
    }
    pod: Manifest = {
        "serviceAccountName": additions.account_name(named),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(cluster),
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            {"name": "recipe", "configMap": {"name": named.name}},
            *volumes,
            {"name": "scratch", "emptyDir": {"sizeLimit": cluster.resources.ephemeral_storage}},
            *additions.volumes(cluster.pod),
        ],
        **placement(named),
    }
    spec: Manifest = {
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": cluster.retries,
        "ttlSecondsAfterFinished": keep_seconds,
        "podFailurePolicy": pod_failure_policy(JOB.container),
        "template": overlaid({"metadata": pod_metadata(named, None), "spec": pod}, cluster.overlay),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": named.name, "labels": job_labels(named) | labels(named, component)},
        "spec": spec,
    }


def run_short_job(
    cluster: Cluster,
    claims: Sequence[Manifest],
    objects: Sequence[Manifest],
    *,
    show: Callable[[Line], None],
    tell: Callable[[Diagnosis], None],
    notice: Callable[[str], None],
) -> Any:
    """Run a Job (the last of its objects) to its end, remove it, and return the JSON it ended with.

    Raises:
        ShortJobError: it failed; the message is its own.
        Phi3kError: the cluster refuses it.
    """
    send_objects(cluster, claims, objects)
    run = find_run(cluster, objects[-1]["metadata"]["name"])
    last = ""
    try:
        for line in follow_logs(cluster, run, tell=tell, notice=notice):
            if last:
                show(Line(line.rank, line.pod, last))
            last = line.text
        ended = wait_for_end(cluster, run, tell=tell, notice=notice)
    finally:
        cancel(cluster, run)
    if ended.state != "Succeeded":
        raise ShortJobError(last.removeprefix("error: ") or ended.cause, exit_code(ended))
    return json.loads(last)
