"""The trainer's pod: one container that needs no root, no token and no writable root filesystem."""

import re
from collections.abc import Iterable

from phi3k_jobs.objects import additions
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.names import RUN_LABEL, RUNS_VOLUME, WANDB_ANNOTATION, labels
from phi3k_jobs.objects.overlay import overlaid
from phi3k_jobs.objects.shape import gpus_per_replica
from phi3k_trainer.contract import (
    CACHE,
    DATA_CACHE,
    DEADLINE_VARIABLE,
    ENTRYPOINT_MODULE,
    HEALTH_CHECK,
    HEALTH_FILE,
    HEALTH_VARIABLE,
    IMAGE_VARIABLE,
    LOG_FORMAT_VARIABLE,
    METRICS_PORT,
    METRICS_PORT_NAME,
    METRICS_PORT_VARIABLE,
    OWN_PREFIX,
    PLAIN_HTTP_VARIABLE,
    PYTHON,
    RECIPE_FILE,
    RECIPES,
    RUNS,
    SCRATCH,
    SHARED_MEMORY,
    TORCHRUN_PREFIX,
    WANDB_RUN_VARIABLE,
)
from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.cluster import ClusterSection, TolerationSection
from phi3k_trainer.recipe.cluster_pod import EnvFromSection
from phi3k_trainer.recipe.durations import seconds
from phi3k_trainer.recipe.environment import (
    HUB_ADDRESS_VARIABLE,
    HUB_TOKEN_VARIABLE,
    WANDB_ADDRESS_VARIABLE,
    WANDB_KEY_VARIABLE,
)

COMMAND = [PYTHON, "-m", ENTRYPOINT_MODULE]
ARGUMENTS = [
    RECIPE_FILE,
    "--set",
    f"checkpoint.directory={RUNS}",
    "--set",
    f"data.cache={DATA_CACHE}",
]
_FIXED_VARIABLES = (
    DEADLINE_VARIABLE,
    HEALTH_VARIABLE,
    IMAGE_VARIABLE,
    LOG_FORMAT_VARIABLE,
    METRICS_PORT_VARIABLE,
    PLAIN_HTTP_VARIABLE,
)
# What other fields of the recipe say, and what tells a replica which one it is.
OWN_VARIABLES = re.compile(
    f"{WANDB_RUN_VARIABLE}"
    f"|{OWN_PREFIX}({'|'.join(name.removeprefix(OWN_PREFIX) for name in _FIXED_VARIABLES)})"
    f"|{TORCHRUN_PREFIX}.*"
)
# Kubernetes kills what still runs after the grace period: torchrun has to give up, and say so, before.
SHUTDOWN_VARIABLE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
SHUTDOWN_MARGIN_SECONDS = 30

# What every trainer's pod has, whatever its recipe says.
FIXED_SPEC: Manifest = {"automountServiceAccountToken": False, "enableServiceLinks": False}
NON_ROOT: Manifest = {"runAsNonRoot": True}
SECCOMP: Manifest = {"seccompProfile": {"type": "RuntimeDefault"}}
WRITABLE_PLACES = {
    "HOME": SCRATCH,
    "TMPDIR": SCRATCH,
    "USER": "phi3k",
    "XDG_CACHE_HOME": f"{SCRATCH}/.cache",
    "HF_HOME": f"{CACHE}/huggingface",
    "TRITON_CACHE_DIR": f"{SCRATCH}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH}/inductor",
    "CUDA_CACHE_PATH": f"{SCRATCH}/cuda",
    "MPLCONFIGDIR": f"{SCRATCH}/matplotlib",
    "WANDB_CACHE_DIR": f"{SCRATCH}/wandb/cache",
    "WANDB_DATA_DIR": f"{SCRATCH}/wandb/data",
    "WANDB_CONFIG_DIR": f"{SCRATCH}/wandb/config",
    "WANDB_ARTIFACT_DIR": f"{SCRATCH}/wandb/artifacts",
}
"""Variables by which libraries write to volumes, and the name of the user."""
MOUNTS: tuple[Manifest, ...] = (
    {"name": "recipe", "mountPath": RECIPES, "readOnly": True},
    {"name": "cache", "mountPath": CACHE},
    {"name": RUNS_VOLUME, "mountPath": RUNS},
    {"name": "scratch", "mountPath": SCRATCH},
    {"name": "shm", "mountPath": SHARED_MEMORY},
)
METRICS_CONTAINER_PORT: Manifest = {"name": METRICS_PORT_NAME, "containerPort": METRICS_PORT}
SECRET_VARIABLES: dict[str, dict[str, bool]] = {
    # Who holds a key says where it may go: a recipe can come from anyone.
    "wandb_secret": {WANDB_KEY_VARIABLE: True, WANDB_ADDRESS_VARIABLE: True},
    "hf_secret": {HUB_TOKEN_VARIABLE: False, HUB_ADDRESS_VARIABLE: True},
}
"""By the recipe's field that names a Secret: its keys, which are the variables' names too, and whether one may lack."""


def pod_metadata(recipe: Recipe, wandb_run_id: str | None) -> Manifest:
    """Return labels and annotations of the trainer's pods."""
    section = recipe.cluster.pod
    own = {WANDB_ANNOTATION: wandb_run_id} if wandb_run_id else {}
    return {
        "labels": additions.pod_labels(labels(recipe, "trainer"), section),
        "annotations": additions.pod_annotations(own, section),
    }


def pod_template(
    recipe: Recipe, wandb_run_id: str | None, config_map: str, container: Manifest, **fixed: str
) -> Manifest:
    """Return metadata and spec of the trainer's pods, the overlay of the recipe included.

    Args:
        recipe: The recipe in force.
        wandb_run_id: W&B run to write to.
        config_map: Name of the recipe's ConfigMap.
        container: The trainer's container.
        fixed: What the kind of job needs in the spec besides.

    Raises:
        RecipeError: the overlay changes what trainer and cluster rely on.
    """
    spec = {**pod_spec(recipe, config_map, container), **fixed}
    template = {"metadata": pod_metadata(recipe, wandb_run_id), "spec": spec}
    return overlaid(template, recipe.cluster.overlay)


def pod_spec(recipe: Recipe, config_map: str, container: Manifest) -> Manifest:
    """Return the pod's spec around `container`."""
    cluster = recipe.cluster
    spec: Manifest = {
        "serviceAccountName": additions.account_name(recipe),
        **FIXED_SPEC,
        "securityContext": pod_security_context(cluster),
        "terminationGracePeriodSeconds": seconds(cluster.grace),
        "containers": [container],
        "volumes": volumes(cluster, config_map),
    }
    if claims := additions.resource_claims(cluster.pod):
        spec["resourceClaims"] = claims
    spec.update(placement(recipe))
    return spec


def placement(recipe: Recipe) -> Manifest:
    """Return what of the pod's spec decides where it runs, without the empty parts."""
    cluster = recipe.cluster
    spec: Manifest = {}
    if cluster.node_selector:
        spec["nodeSelector"] = dict(cluster.node_selector)
    if tolerations := _tolerations(cluster):
        spec["tolerations"] = tolerations
    affinity = dict(cluster.pod.affinity)
    if cluster.topology:
        term = {"labelSelector": {"matchLabels": {RUN_LABEL: recipe.name}}, "topologyKey": cluster.topology}
        affinity["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    if affinity:
        spec["affinity"] = affinity
    if cluster.priority_class:
        spec["priorityClassName"] = cluster.priority_class
    if cluster.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in cluster.image_pull_secrets]
    spec.update(additions.scheduling(cluster.pod))
    return spec


def _tolerations(cluster: ClusterSection) -> list[Manifest]:
    """The recipe's, and one for the taint by which clusters keep pods without GPUs off their GPU nodes."""
    stated = [toleration(entry) for entry in cluster.tolerations]
    if gpus_per_replica(cluster):
        stated.append({"key": cluster.gpu_resource, "operator": "Exists"})
    return stated


def toleration(section: TolerationSection) -> Manifest:
    """Return a pod's toleration."""
    fields = {
        "key": section.key,
        "operator": section.operator,
        "value": section.value,
        "effect": section.effect,
        "tolerationSeconds": section.toleration_seconds,
    }
    return {name: value for name, value in fields.items() if value is not None}


def pod_security_context(cluster: ClusterSection) -> Manifest:
    """Return what the policy `restricted` asks of the pod, and its users and groups."""
    return {**NON_ROOT, **additions.security(cluster.pod), **SECCOMP}


def container_security_context(*capabilities: str) -> Manifest:
    """Return what the policy `restricted` asks of a container, and a read-only root filesystem.

    `capabilities` are added to none at all, which that policy refuses.
    """
    kept = {"add": list(capabilities)} if capabilities else {}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], **kept},
        "readOnlyRootFilesystem": True,
    }


def trainer_container(recipe: Recipe, name: str, environment: list[Manifest]) -> Manifest:
    """Return the trainer's container, named `name` as the job's kind wants it."""
    container: Manifest = {
        "name": name,
        "image": recipe.cluster.image,
        "imagePullPolicy": recipe.cluster.image_pull_policy,
        "command": list(COMMAND),
        "args": list(ARGUMENTS),
        "env": environment,
        "resources": resources(recipe.cluster),
        "securityContext": container_security_context(*recipe.cluster.pod.capabilities),
        "readinessProbe": readiness_probe(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volume_mounts(recipe.cluster),
    }
    container.update(env_sources(recipe.cluster))
    if recipe.cluster.pod_monitor:
        container["ports"] = [dict(METRICS_CONTAINER_PORT)]
    return container


def readiness_probe() -> Manifest:
    """Return the probe by which READY says whether the run moves.

    It is no liveness probe: Kubernetes must not kill a save because it is slow. The first answer comes at once and is
    yes, since the training operator's services give only ready pods their DNS names, by which they have to meet.
    """
    return {
        "exec": {"command": [PYTHON, "-I", "-S", HEALTH_CHECK, HEALTH_FILE]},
        "periodSeconds": 10,
        # Training may use all cores.
        "timeoutSeconds": 10,
    }


def resources(cluster: ClusterSection) -> Manifest:
    """Return requests and limits: memory and devices are both, CPU is only requested unless the recipe limits it."""
    section = cluster.resources
    held = {"memory": section.memory, "ephemeral-storage": section.ephemeral_storage, **cluster.pod.extra_resources}
    if gpus := gpus_per_replica(cluster):
        held[cluster.gpu_resource] = str(gpus)
    limits = {"cpu": section.cpu_limit, **held} if section.cpu_limit else held
    found: Manifest = {"requests": {"cpu": section.cpu, **held}, "limits": limits}
    if cluster.pod.resource_claims:
        found["claims"] = [{"name": claim.name} for claim in cluster.pod.resource_claims]
    return found


def environment(recipe: Recipe, wandb_run_id: str | None) -> list[Manifest]:
    """Return the trainer's environment: every writable path on a volume, secrets by reference.

    Raises:
        RecipeError: the recipe sets a variable that has to be what phi3k or an operator makes it.
    """
    cluster = recipe.cluster
    _refuse_variables([*cluster.env, *cluster.pod.env_secrets])
    plain = {
        **WRITABLE_PLACES,
        SHUTDOWN_VARIABLE: str(max(1, seconds(cluster.grace) - SHUTDOWN_MARGIN_SECONDS)),
        LOG_FORMAT_VARIABLE: cluster.log_format,
        IMAGE_VARIABLE: cluster.image,
        HEALTH_VARIABLE: HEALTH_FILE,
    }
    if cluster.pod_monitor:
        plain[METRICS_PORT_VARIABLE] = str(METRICS_PORT)
    if cluster.deadline:
        plain[DEADLINE_VARIABLE] = str(seconds(cluster.deadline))
    if wandb_run_id:
        plain[WANDB_RUN_VARIABLE] = wandb_run_id
    plain.update(sorted(cluster.env.items()))
    # Kubernetes expands $(NAME) in values, and reads $$ as $.
    entries: list[Manifest] = [{"name": name, "value": value.replace("$", "$$")} for name, value in plain.items()]
    referred = cluster.pod.env_secrets
    entries = [entry for entry in entries if entry["name"] not in referred]
    entries += [_from_secret(name, of.secret, of.key) for name, of in sorted(referred.items())]
    for field, variables in SECRET_VARIABLES.items():
        if secret := getattr(cluster, field):
            entries += [_from_secret(name, secret, optional=may_lack) for name, may_lack in variables.items()]
    return entries


def _refuse_variables(names: Iterable[str]) -> None:
    for name in names:
        if OWN_VARIABLES.fullmatch(name):
            raise RecipeError(f"cluster.env can't set {name}: phi3k, or the job's operator, sets it itself")


def env_sources(cluster: ClusterSection) -> Manifest:
    """Return the container's `envFrom`, or nothing where no Secret or ConfigMap becomes variables as a whole."""
    sources = [_env_source(entry) for entry in cluster.pod.env_from]
    return {"envFrom": sources} if sources else {}


def _env_source(section: EnvFromSection) -> Manifest:
    if section.secret is not None:
        return {"secretRef": {"name": section.secret}}
    return {"configMapRef": {"name": section.config_map}}


def _from_secret(name: str, secret: str, key: str | None = None, *, optional: bool = False) -> Manifest:
    reference: Manifest = {"name": secret, "key": key or name}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def volumes(cluster: ClusterSection, config_map: str) -> list[Manifest]:
    """Return the pod's volumes: the recipe, the two claims, scratch space and shared memory."""
    return [
        {"name": "recipe", "configMap": {"name": config_map}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": cluster.cache.claim}},
        {"name": RUNS_VOLUME, "persistentVolumeClaim": {"claimName": cluster.runs.claim}},
        {"name": "scratch", "emptyDir": {"sizeLimit": cluster.resources.ephemeral_storage}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.resources.shared_memory}},
        *additions.volumes(cluster.pod),
    ]


def volume_mounts(cluster: ClusterSection) -> list[Manifest]:
    """Return where the container sees the volumes."""
    return [
        *map(dict, MOUNTS),
        *additions.mounts(cluster.pod),
    ]
