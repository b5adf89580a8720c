"""What is checked on a cluster before anything is sent. Fatal findings are errors, the rest are notes.

What the nodes lack is only a note: an autoscaler may add nodes, and no API shows whether it can.
"""

from collections.abc import Iterable, Sequence

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.discovery import Capabilities, serves
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.shape import gpus_per_replica, num_nodes
from phi3k_trainer.contract import KindName
from phi3k_trainer.errors import MissingInputError, PermissionDeniedError, RecipeError, UnavailableError
from phi3k_trainer.planning import check_fits, shape_of
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.cluster import ClaimSection

GPU_MEMORY_LABEL = "nvidia.com/gpu.memory"


def check_cluster(cluster: Cluster, recipe: Recipe, capabilities: Capabilities) -> list[str]:
    """Return notes on what may keep the run from starting.

    Raises:
        RecipeError: it can't start as asked: the quota, a claim or the queue forbids it.
        UnavailableError: the recipe asks for a PodMonitor, which the cluster doesn't know.
    """
    if recipe.cluster.pod_monitor and not serves(cluster, "PodMonitor"):
        raise UnavailableError(
            "cluster.pod_monitor is true, but the cluster has no PodMonitor (monitoring.coreos.com/v1): the Prometheus "
            "operator is not installed. Set it to false, or ask for the operator"
        )
    notes = []
    if cluster.allowed("list", "Node"):
        nodes = list(cluster.list("Node"))
        notes += check_nodes(recipe, nodes) + check_memory(recipe, nodes)
    if recipe.cluster.queue is not None and capabilities.kueue and cluster.allowed("list", "LocalQueue"):
        check_queue(recipe.cluster.queue, [queue["metadata"]["name"] for queue in cluster.list("LocalQueue")])
    if cluster.allowed("list", "ResourceQuota"):
        check_quota(recipe, cluster.list("ResourceQuota"), cluster.namespace)
    for section in (recipe.cluster.cache, recipe.cluster.runs):
        notes += _check_claim(cluster, recipe, section)
    return notes + _check_secrets(cluster, recipe)


def check_nodes(recipe: Recipe, nodes: Sequence[Manifest]) -> list[str]:
    """Return notes on GPUs and labels that the run asks for and the nodes that are up lack."""
    resource, wanted = recipe.cluster.gpu_resource, gpus_per_replica(recipe.cluster)
    if wanted == 0:
        return []
    waits = "the run waits until one is added (by an autoscaler?)"
    having = {node["metadata"]["name"]: int(node["status"].get("allocatable", {}).get(resource, 0)) for node in nodes}
    largest = max(having.values(), default=0)
    if largest == 0:
        return [f"no node has {resource} now: {waits}"]
    if largest < wanted:
        return [
            f"a replica asks for {wanted} {resource}, but no node that is up has more than {largest}: {waits}. To use "
            f"the nodes there are, set cluster.gpus_per_node to {largest} or less (--set "
            f"cluster.gpus_per_node={largest})"
        ]
    fitting = [
        node["metadata"]["name"]
        for node in nodes
        if having[node["metadata"]["name"]] >= wanted and _selected(node, recipe.cluster.node_selector)
    ]
    if not fitting:
        return [
            f"no node that is up has {wanted} {resource} and the labels of cluster.node_selector "
            f"({recipe.cluster.node_selector}): {waits}"
        ]
    if len(fitting) < num_nodes(recipe.cluster):
        return [f"{num_nodes(recipe.cluster)} nodes with {wanted} {resource} are needed and {len(fitting)} are there"]
    return []


def check_memory(recipe: Recipe, nodes: Sequence[Manifest]) -> list[str]:
    """Return a note if the run does not fit the largest GPU that the nodes' labels name, or if that is not known."""
    sizes = [_gpu_memory(node) for node in nodes if _selected(node, recipe.cluster.node_selector)]
    if recipe.cluster.gpus == 0 or not any(sizes):
        return []
    try:
        shape = shape_of(recipe)
    except (MissingInputError, UnavailableError) as error:
        return [f"whether the run fits the GPUs' memory is not known: {error}"]
    try:
        check_fits(recipe, shape, max(sizes), recipe.cluster.gpus)
    except RecipeError as error:
        return [f"on the largest GPU of the nodes that are up, {error}"]
    return []


def _gpu_memory(node: Manifest) -> int:
    """Return the bytes of one of the node's GPUs as GPU feature discovery labels it, in MiB; 0 if it does not."""
    memory = node["metadata"].get("labels", {}).get(GPU_MEMORY_LABEL, "")
    return int(memory) * 2**20 if memory.isdigit() else 0


def check_queue(queue: str, existing: Sequence[str]) -> None:
    """Refuse a queue that does not exist: Kueue would hold the run back forever.

    Raises:
        RecipeError: the namespace has no such local queue.
    """
    if queue not in existing:
        raise RecipeError(
            f"cluster.queue: the namespace has no local queue {queue}; it has: {', '.join(existing) or 'none'}"
        )


def _selected(node: Manifest, selector: dict[str, str]) -> bool:
    own = node["metadata"].get("labels", {})
    return all(own.get(name) == value for name, value in selector.items())


def check_quota(recipe: Recipe, quotas: Iterable[Manifest], namespace: str) -> None:
    """Refuse GPUs that the namespace's quota can never grant.

    Raises:
        RecipeError: a quota's hard limit is below what the run asks for.
    """
    name = f"requests.{recipe.cluster.gpu_resource}"
    for quota in quotas:
        hard = quota.get("status", {}).get("hard", {}).get(name)
        if hard is not None and int(hard) < recipe.cluster.gpus:
            raise RecipeError(
                f"the run asks for {recipe.cluster.gpus} {recipe.cluster.gpu_resource}, but the quota "
                f"{quota['metadata']['name']} of namespace {namespace} allows {hard}: ask for fewer with --gpus"
            )


def _check_claim(cluster: Cluster, recipe: Recipe, section: ClaimSection) -> list[str]:
    existing = cluster.get("PersistentVolumeClaim", section.claim)
    if existing is None:
        if not section.create:
            raise RecipeError(
                f"there is no claim {section.claim} in namespace {cluster.namespace} and the recipe does not create "
                "it: create it, name another, or set its `create` to true"
            )
        return _check_storage_class(cluster, section)
    modes = existing["spec"]["accessModes"]
    if num_nodes(recipe.cluster) > 1 and "ReadWriteMany" not in modes:
        raise RecipeError(
            f"the claim {section.claim} can be mounted by one node only ({', '.join(modes)}), "
            f"but the run has {num_nodes(recipe.cluster)}: name a claim with ReadWriteMany"
        )
    return []


def _check_storage_class(cluster: Cluster, section: ClaimSection) -> list[str]:
    if not cluster.allowed("list", "StorageClass"):
        return []
    classes = {entry["metadata"]["name"]: entry["metadata"] for entry in cluster.list("StorageClass")}
    if section.storage_class is not None and section.storage_class not in classes:
        raise RecipeError(
            f"there is no storage class {section.storage_class} for the claim {section.claim}; there are: "
            f"{', '.join(classes) or 'none'}"
        )
    default = "storageclass.kubernetes.io/is-default-class"
    if section.storage_class is None and not any(
        metadata.get("annotations", {}).get(default) == "true" for metadata in classes.values()
    ):
        return [
            f"the claim {section.claim} names no storage class and the cluster has no default: it stays Pending until "
            "somebody provides a volume"
        ]
    return []


def _check_secrets(cluster: Cluster, recipe: Recipe) -> list[str]:
    """Look for the secrets that the user may read. For the others, `phi3k status` reports a missing one."""
    notes = []
    for field in ("wandb_secret", "hf_secret"):
        name = getattr(recipe.cluster, field)
        if name is None:
            continue
        try:
            missing = cluster.get("Secret", name) is None
        except PermissionDeniedError:
            continue
        if missing and field == "hf_secret":
            raise RecipeError(
                f"there is no secret {name} (cluster.hf_secret) in namespace {cluster.namespace}: create it with "
                f"`kubectl create secret generic {name} --from-literal=HF_TOKEN=...`"
            )
        if missing:
            notes.append(
                f"there is no secret {name}: the run is tracked offline. Create it with `kubectl create secret generic "
                f"{name} --from-literal=WANDB_API_KEY=...`"
            )
    return notes


def queue_note(recipe: Recipe, capabilities: Capabilities, kind: KindName, job: Manifest) -> list[str]:
    """Return a note if the recipe names a queue that has no effect on this cluster.

    Kueue's webhook suspends a job that it manages, so the job as the server would store it shows this.
    """
    if recipe.cluster.queue is None or KINDS[kind].state(job) == "Suspended":
        return []
    reason = "Kueue does not manage this kind of job here" if capabilities.kueue else "the cluster has no Kueue"
    return [f"the queue {recipe.cluster.queue} has no effect: {reason}. The job starts as soon as its pods fit"]
