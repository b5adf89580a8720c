"""What phi3k has to know of a kind of job. Every module beside this one describes one kind, in one `Kind`.

Looking at runs needs kinds but no recipe, whose import takes longer than the API server's answer: so the functions that
render import what they need themselves.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.resource import Resource
from phi3k_trainer.contract import KindName

if TYPE_CHECKING:
    from phi3k_trainer.recipe import Recipe

Render = Callable[["Recipe", str | None], list[Manifest]]
"""From the recipe in force and the id of its W&B run, where that is known, to objects."""


def _nothing(_recipe: "Recipe", _wandb_run_id: str | None) -> list[Manifest]:
    return []


def _never(_error: Exception) -> bool:
    return False


@dataclass(frozen=True)
class Kind:
    """All that is particular to a kind of job. The functions are pure."""

    name: KindName
    """As `cluster.kind` says it."""
    job: Resource
    """The object that carries the run, under the run's name."""
    container: str
    """Name of the trainer's container; others in its pod are sidecars that the cluster injects."""
    index_label: str
    """Label by which a pod says which replica it is."""
    render: Render
    """What the kind needs besides what all have, and last the job."""
    nodes: Callable[[Manifest], int]
    """How many replicas a stored job has."""
    state: Callable[[Manifest], str]
    """Pending, Running, Restarting, Suspended, Succeeded or Failed: what a stored job says."""
    suspension: Callable[[bool], Manifest]
    """The merge patch of a job that suspends it or lets it continue."""
    pods: Callable[[Manifest], Manifest]
    """The template of the trainer's pods, in a stored job or in its `runtime`."""
    runtime: Resource | None = None
    """The object of the run's name that holds the pods' template, where the job does not."""
    render_early: Render = _nothing
    """What an operator has to see well before the job."""
    is_too_early: Callable[[Exception], bool] = _never
    """Whether the server refuses the job only because an operator has not seen yet what was made before it."""
    needs: tuple[Resource, ...] = ()
    """What `render` and `render_early` make besides the job."""
    made_job: str | None = None
    """What follows the run's name in the name of the Job that an operator makes of it."""
    failure_events: tuple[re.Pattern[str], ...] = ()
    """Words by which an operator reports a failed pod that it deletes: with groups `pod`, `code`, perhaps `message`."""

    def made_job_of(self, run: str) -> str | None:
        """Return the name of the Job that an operator makes of the run, None where none does."""
        return None if self.made_job is None else f"{run}{self.made_job}"


def settled_state(job: Manifest, *, is_suspended: bool, success: str = "Complete") -> str | None:
    """Return the state that a job's conditions or its suspension decide, None where its pods do.

    Args:
        job: As stored.
        is_suspended: Whether its spec asks for no pods.
        success: The condition of a job that has succeeded.
    """
    true = {entry["type"] for entry in job.get("status", {}).get("conditions", []) if entry.get("status") == "True"}
    if success in true:
        return "Succeeded"
    if "Failed" in true:
        return "Failed"
    return "Suspended" if is_suspended or "Suspended" in true else None
