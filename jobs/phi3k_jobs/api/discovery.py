"""What a cluster can run: read from its discovery documents, which every user may read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.resources import RESOURCES
from phi3k_trainer.errors import MissingInputError, UnavailableError

if TYPE_CHECKING:
    from phi3k_jobs.objects.names import Kind
    from phi3k_trainer.recipe import Recipe

KIND_OBJECTS: "dict[Kind, str]" = {"pytorchjob": "PyTorchJob", "trainjob": "TrainJob", "job": "Job"}


@dataclass(frozen=True)
class Capabilities:
    """The kinds of job a cluster has, best first, and whether it has Kueue."""

    kinds: "tuple[Kind, ...]"
    kueue: bool

    def choose(self, recipe: "Recipe") -> "Kind":
        """Return the recipe's kind, or for `auto` the best there is.

        Raises:
            UnavailableError: the cluster lacks the kind; the message names those it has.
        """
        wanted = recipe.cluster.kind
        if wanted == "auto":
            return self.kinds[0]
        if wanted not in self.kinds:
            resource = RESOURCES[KIND_OBJECTS[wanted]]
            raise UnavailableError(
                f"the cluster has no {resource.kind} ({resource.api_version}): its operator "
                f"is not installed. Use --kind {' or --kind '.join(self.kinds)}, or ask for the operator"
            )
        return wanted


def look(cluster: Cluster) -> Capabilities:
    """Return what the cluster can run."""
    groups = {group["name"] for group in cluster.request("GET", "/apis", what="ask what the cluster has")["groups"]}
    kinds: list[Kind] = []
    if "kubeflow.org" in groups and serves(cluster, "PyTorchJob"):
        kinds.append("pytorchjob")
    if "trainer.kubeflow.org" in groups and serves(cluster, "TrainJob"):
        kinds.append("trainjob")
    kinds.append("job")
    return Capabilities(kinds=tuple(kinds), kueue="kueue.x-k8s.io" in groups)


def serves(cluster: Cluster, kind: str) -> bool:
    """Return whether the cluster has objects of that kind."""
    try:
        served = cluster.request("GET", f"/apis/{RESOURCES[kind].api_version}", what=f"ask for {kind}")
    except MissingInputError:
        return False
    return any(resource["kind"] == kind for resource in served["resources"])
