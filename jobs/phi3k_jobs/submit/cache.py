"""The cache claim: a Job without a GPU fills it, lists it or frees what is in it."""

from collections.abc import Callable

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.objects.around import claim, config_map, network_policy, service_account
from phi3k_jobs.objects.local_paths import refuse_local_paths
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import labels
from phi3k_jobs.submit.short_job import run_short_job, short_job
from phi3k_jobs.watch.diagnosis import Diagnosis
from phi3k_jobs.watch.logs import Line
from phi3k_trainer.contract import CACHE, CACHE_MODULE, DATA_CACHE, PYTHON, RECIPE_FILE
from phi3k_trainer.errors import OutputError
from phi3k_trainer.recipe import Recipe

# Decoding pictures and reading headers: no GPU, and little CPU and memory.
RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
KEEP_SECONDS = 3600
WARM = "warm"


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
    """Return the objects of one verb, the Job last: a run with its own name, so that status and logs work with it.

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
    cluster = named.cluster
    storage = {"ephemeral-storage": cluster.resources.ephemeral_storage}
    return short_job(
        named,
        "cache",
        [PYTHON, "-m", CACHE_MODULE],
        arguments,
        resources={which: {**held, **storage} for which, held in RESOURCES.items()},
        mounts=[{"name": "cache", "mountPath": CACHE}],
        volumes=[{"name": "cache", "persistentVolumeClaim": {"claimName": cluster.cache.claim}}],
        keep_seconds=KEEP_SECONDS,
    )


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
        OutputError: one is already running.
        MissingInputError: the recipe names a path that is not in the cluster.
        ShortJobError: it failed; the message is its own.
        Phi3kError: the cluster refuses it.
    """
    if arguments[0] == WARM:
        refuse_local_paths(recipe)
    objects = cache_objects(recipe, arguments)
    name = objects[-1]["metadata"]["name"]
    if cluster.get("Job", name) is not None:
        raise OutputError(f"{name} already exists: `phi3k logs -f {name}` follows it, `phi3k cancel {name}` ends it")
    shared = claim(recipe.cluster.cache)
    is_missing = recipe.cluster.cache.create and cluster.get(shared["kind"], shared["metadata"]["name"]) is None
    claims = [shared] if is_missing else []
    return run_short_job(cluster, claims, objects, show=show, tell=tell, notice=notice)
