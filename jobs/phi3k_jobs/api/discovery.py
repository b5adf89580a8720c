"""What a cluster can run: read from its discovery documents, which every user may read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.resources import RESOURCES
from phi3k_jobs.kinds import DEFAULT_KIND, KINDS
from phi3k_trainer.contract import KindName
from phi3k_trainer.errors import MissingInputError, UnavailableError

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe


@dataclass(frozen=True)
class Capabilities:
    """The kinds of job a cluster has, best first, and whether it has Kueue."""

    kinds: tuple[KindName, ...]
    kueue: bool

    def choose(self, recipe: "Recipe") -> KindName:
        """Return the recipe's kind, or for `auto` the best that the cluster has.

        Raises:
            UnavailableError: the cluster lacks the kind; the message names those it has.
        """
        wanted = recipe.cluster.kind
        if wanted == "auto":
            return self.kinds[0]
        if wanted not in self.kinds:
            resource = KINDS[wanted].job
            raise UnavailableError(
                f"the cluster has no {resource.kind} ({resource.api_version}): its operator "
                f"is not installed. Use --kind {' or --kind '.join(self.kinds)}, or ask for the operator"
            )
        return wanted


def look(cluster: Cluster) -> Capabilities:
    """Return what the cluster can run."""
    groups = {group["name"] for group in cluster.request("GET", "/apis", what="ask what the cluster has")["groups"]}
    kinds = tuple(
        name
        for name, kind in KINDS.items()
        if name == DEFAULT_KIND or (kind.job.group in groups and serves(cluster, kind.job.kind))
    )
    return Capabilities(kinds=kinds, kueue="kueue.x-k8s.io" in groups)


def serves(cluster: Cluster, kind: str) -> bool:
    """Return whether the cluster has objects of that kind."""
    try:
        served = cluster.request("GET", f"/apis/{RESOURCES[kind].api_version}", what=f"ask for {kind}")
    except MissingInputError:
        return False
    return any(resource["kind"] == kind for resource in served["resources"])
