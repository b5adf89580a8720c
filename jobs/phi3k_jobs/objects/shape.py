"""The number of replicas, GPUs and processes of a run. Pure functions of the recipe's cluster section."""

import re

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe.cluster import PART_OF_A_GPU, ClusterSection


def num_nodes(cluster: ClusterSection) -> int:
    """Return how many replicas the run has.

    Raises:
        RecipeError: the GPUs don't divide over the nodes, a replica would have several parts of GPUs, or a claim can't
            be shared by the nodes.
    """
    if cluster.gpus == 0:
        nodes = cluster.nodes or 1
    elif cluster.nodes is not None:
        if cluster.gpus % cluster.nodes or cluster.gpus // cluster.nodes > cluster.gpus_per_node:
            raise RecipeError(
                f"cluster.gpus is {cluster.gpus}, which {cluster.nodes} nodes of {cluster.gpus_per_node} GPUs can't "
                "share equally: change cluster.nodes, or leave it out"
            )
        nodes = cluster.nodes
    elif cluster.gpus <= cluster.gpus_per_node:
        nodes = 1
    elif cluster.gpus % cluster.gpus_per_node:
        lower = cluster.gpus - cluster.gpus % cluster.gpus_per_node
        raise RecipeError(
            f"cluster.gpus is {cluster.gpus}, not a multiple of cluster.gpus_per_node ({cluster.gpus_per_node}): "
            f"ask for {lower} or {lower + cluster.gpus_per_node}"
        )
    else:
        nodes = cluster.gpus // cluster.gpus_per_node
    _refuse_parts_of_gpus(cluster, nodes)
    _refuse_private_claims(cluster, nodes)
    return nodes


def gpus_per_replica(cluster: ClusterSection) -> int:
    """Return the GPUs of one replica; 0 trains on the CPU."""
    return cluster.gpus // num_nodes(cluster)


def processes_per_replica(cluster: ClusterSection) -> int:
    """Return the processes that torchrun starts in one replica: one a GPU, or one on the CPU."""
    return max(1, gpus_per_replica(cluster))


def _refuse_parts_of_gpus(cluster: ClusterSection, nodes: int) -> None:
    """A process sees the first MIG device of its pod only, and time-sliced devices may be one GPU."""
    if cluster.gpus > nodes and re.search(PART_OF_A_GPU, cluster.gpu_resource):
        raise RecipeError(
            f"a replica can't train on {cluster.gpus // nodes} of {cluster.gpu_resource}: CUDA gives it one MIG device,"
            " and time-sliced devices may be the same GPU. Set cluster.gpus_per_node to 1, or ask for whole GPUs"
        )


def _refuse_private_claims(cluster: ClusterSection, nodes: int) -> None:
    if nodes == 1:
        return
    for field in ("cache", "runs"):
        modes = getattr(cluster, field).access_modes
        if "ReadWriteMany" not in modes:
            raise RecipeError(
                f"{nodes} nodes can't share the claim of cluster.{field}: its access mode is {', '.join(modes)}, which "
                f"binds it to one node. Set cluster.{field}.access_modes to [ReadWriteMany] with a storage class that "
                "offers it, or use one node"
            )
