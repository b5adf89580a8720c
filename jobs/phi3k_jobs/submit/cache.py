"""The cache claim: a Job without a GPU fills it, lists it or frees what is in it."""

import json
from collections.abc import Callable

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.kinds.job import CONTAINER, pod_failure_policy
from phi3k_jobs.kinds.pytorchjob import job_labels
from phi3k_jobs.objects import additions
from phi3k_jobs.objects.around import claim, config_map, network_policy, service_account
from phi3k_jobs.objects.local_paths import refuse_local_paths
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import labels
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
from phi3k_jobs.submit.submission import send
from phi3k_jobs.watch.diagnosis import Diagnosis
from phi3k_jobs.watch.following import follow_logs
from phi3k_jobs.watch.logs import Line
from phi3k_jobs.watch.waiting import exit_code, wait_for_end
from phi3k_trainer.contract import CACHE, CACHE_MODULE, DATA_CACHE, PYTHON, RECIPE_FILE, RECIPES, SCRATCH
from phi3k_trainer.errors import OutputError, Phi3kError
from phi3k_trainer.recipe import Recipe

# Decoding pictures and reading headers: no GPU, and little of the rest.
RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
KEEP_SECONDS = 3600
WARM = "warm"


class CacheError(Phi3kError):
    """The Job has failed; its own exit code says how."""

    def __init__(self, message: str, code: int) -> None:
        """Carry the code of the process in the cluster."""
        super().__init__(message)
        self.exit_code = code


def warm_arguments() -> list[str]:
    """Return the process's arguments that fetch and verify what the recipe needs."""
    return [WARM, RECIPE_FILE, "--set", f"data.cache={DATA_CACHE}"]


def list_arguments() -> list[str]:
    """Return the process's arguments that list the cache."""
    return ["list", CACHE]


def remove_arguments(name: str) -> list[str]:
    """Return the process's arguments that remove one entry."""
    return ["remove", CACHE, name]


def cache_objects(recipe: Recipe, arguments: list[str]) -> list[Manifest]:
    """Return the objects of one verb, the Job last: a run of its own name, so that status and logs work with it.

    It is placed, queued and guarded as the recipe's run is: its account has no token, its network the run's policy.
    """
    named = _named(recipe, arguments)
    mapped = config_map(recipe)
    mapped["metadata"] = {"name": named.name, "labels": labels(named, "recipe")}
    guards = [service_account(named)] if named.cluster.pod.service_account is None else []
    if named.cluster.network_policy:
        guards.append(network_policy(named))
    return [mapped, *guards, _job(named, arguments)]


def _named(recipe: Recipe, arguments: list[str]) -> Recipe:
    """Return the recipe as the verb's own run: under its name, alone, without the GPUs and secrets it does not need."""
    needless: dict[str, object] = {"wandb_secret": None, "topology": None, "gpus": 0, "nodes": None}
    if arguments[0] != WARM:
        without: dict[str, object] = {"env_from": (), "env_secrets": {}, "volumes": ()}
        needless |= {"hf_secret": None, "pod": recipe.cluster.pod.model_copy(update=without)}
    cluster = recipe.cluster.model_copy(update=needless)
    return recipe.model_copy(update={"name": f"{recipe.name}-cache-{arguments[0]}", "cluster": cluster})


def _job(named: Recipe, arguments: list[str]) -> Manifest:
    spec: Manifest = {
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": named.cluster.retries,
        "ttlSecondsAfterFinished": KEEP_SECONDS,
        "podFailurePolicy": pod_failure_policy(CONTAINER),
        "template": overlaid(
            {"metadata": pod_metadata(named, None), "spec": _pod(named, arguments)}, named.cluster.overlay
        ),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": named.name, "labels": job_labels(named) | labels(named, "cache")},
        "spec": spec,
    }


def _pod(named: Recipe, arguments: list[str]) -> Manifest:
    cluster = named.cluster
    storage = {"ephemeral-storage": cluster.resources.ephemeral_storage}
    container: Manifest = {
        "name": CONTAINER,
        "image": cluster.image,
        "imagePullPolicy": cluster.image_pull_policy,
        "command": [PYTHON, "-m", CACHE_MODULE],
        "args": arguments,
        "env": environment(named, None),
        **env_sources(cluster),
        "resources": {which: {**held, **storage} for which, held in RESOURCES.items()},
        "securityContext": container_security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "recipe", "mountPath": RECIPES, "readOnly": True},
            {"name": "cache", "mountPath": CACHE},
            {"name": "scratch", "mountPath": SCRATCH},
            *additions.mounts(cluster.pod),
        ],
    }
    return {
        "serviceAccountName": additions.account_name(named),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(cluster),
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            {"name": "recipe", "configMap": {"name": named.name}},
            {"name": "cache", "persistentVolumeClaim": {"claimName": cluster.cache.claim}},
            {"name": "scratch", "emptyDir": {"sizeLimit": cluster.resources.ephemeral_storage}},
            *additions.volumes(cluster.pod),
        ],
        **placement(named),
    }


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
        MissingInputError: it should fetch what is not in the cluster.
        CacheError: it failed; the message is its own.
        Phi3kError: the cluster refuses it.
    """
    if arguments[0] == WARM:
        refuse_local_paths(recipe)
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
