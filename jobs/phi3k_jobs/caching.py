"""The cache claim: a Job without a GPU fills it, lists it or frees what is in it."""

import json
from collections.abc import Callable

from phi3k_jobs.cluster import Cluster
from phi3k_jobs.diagnosis import Diagnosis
from phi3k_jobs.following import follow_logs
from phi3k_jobs.job import CONTAINER, pod_failure_policy
from phi3k_jobs.lifecycle import cancel, find_run
from phi3k_jobs.logs import Line
from phi3k_jobs.manifest import Manifest
from phi3k_jobs.names import labels
from phi3k_jobs.pod import (
    CACHE,
    ENTRYPOINT,
    RECIPES,
    SCRATCH,
    container_security_context,
    environment,
    pod_security_context,
    toleration,
)
from phi3k_jobs.submission import send
from phi3k_jobs.support import claim, config_map
from phi3k_jobs.waiting import exit_code, wait_for_end
from phi3k_trainer.errors import OutputError, Phi3kError
from phi3k_trainer.recipe import Recipe

# Decoding pictures and reading headers: no GPU, and little of the rest.
RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "8Gi"}}
KEEP_SECONDS = 3600


class CacheError(Phi3kError):
    """The Job has failed; its own exit code says how."""

    def __init__(self, message: str, code: int) -> None:
        """Carry the code of the process in the cluster."""
        super().__init__(message)
        self.exit_code = code


def warm_arguments() -> list[str]:
    """Return the process's arguments that fetch and verify what the recipe needs."""
    return ["warm", f"{RECIPES}/recipe.yaml", "--set", f"data.cache={CACHE}/phi3k"]


def list_arguments() -> list[str]:
    """Return the process's arguments that list the cache."""
    return ["list", CACHE]


def remove_arguments(name: str) -> list[str]:
    """Return the process's arguments that remove one entry."""
    return ["remove", CACHE, name]


def cache_objects(recipe: Recipe, arguments: list[str]) -> list[Manifest]:
    """Return the recipe's ConfigMap and the Job, which is a run of its own name: status and logs work with it."""
    named = recipe.model_copy(update={"name": f"{recipe.name}-cache-{arguments[0]}"})
    mapped = config_map(recipe)
    mapped["metadata"] = {"name": named.name, "labels": labels(named, "recipe")}
    container: Manifest = {
        "name": CONTAINER,
        "image": recipe.cluster.image,
        "imagePullPolicy": recipe.cluster.image_pull_policy,
        "command": [ENTRYPOINT[0], "-m", "phi3k_trainer.cache"],
        "args": arguments,
        "env": environment(recipe, None),
        "resources": RESOURCES,
        "securityContext": container_security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "recipe", "mountPath": RECIPES, "readOnly": True},
            {"name": "cache", "mountPath": CACHE},
            {"name": "scratch", "mountPath": SCRATCH},
        ],
    }
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(),
        "restartPolicy": "Never",
        "containers": [container],
        "tolerations": [toleration(entry) for entry in recipe.cluster.tolerations],
        "imagePullSecrets": [{"name": name} for name in recipe.cluster.image_pull_secrets],
        "volumes": [
            {"name": "recipe", "configMap": {"name": named.name}},
            {"name": "cache", "persistentVolumeClaim": {"claimName": recipe.cluster.cache.claim}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }
    spec: Manifest = {
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": recipe.cluster.retries,
        "ttlSecondsAfterFinished": KEEP_SECONDS,
        "podFailurePolicy": pod_failure_policy(CONTAINER),
        "template": {"metadata": {"labels": labels(named, "trainer")}, "spec": pod},
    }
    job: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": named.name, "labels": labels(named, "cache")},
        "spec": spec,
    }
    return [mapped, job]


def run_in_cache(
    cluster: Cluster,
    recipe: Recipe,
    arguments: list[str],
    *,
    show: Callable[[Line], None],
    tell: Callable[[Diagnosis], None],
    notice: Callable[[str], None],
) -> object:
    """Run the process beside the claim to its end, remove its Job, and return the JSON it ended with.

    Raises:
        OutputError: one is running already.
        CacheError: it failed; the message is its own.
        Phi3kError: the cluster refuses it.
    """
    objects = cache_objects(recipe, arguments)
    name = objects[-1]["metadata"]["name"]
    if cluster.get("Job", name) is not None:
        raise OutputError(f"{name} is there already: `phi3k logs -f {name}` follows it, `phi3k cancel {name}` ends it")
    shared = claim(recipe.cluster.cache)
    is_missing = recipe.cluster.cache.create and cluster.get(shared["kind"], shared["metadata"]["name"]) is None
    send(cluster, [shared] if is_missing else [], objects)
    run = find_run(cluster, name)
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
        raise CacheError(last.removeprefix("error: ") or ended.cause, exit_code(ended))
    return json.loads(last)
