"""What Kueue reports about a run in a queue, by the Workload that it keeps for each job. Pure functions."""

from collections.abc import Sequence

from phi3k_jobs.objects.manifest import Manifest


def is_held(workloads: Sequence[Manifest]) -> bool:
    """Return whether the run was deactivated in Kueue, as `phi3k suspend` does."""
    return any(workload["spec"].get("active") is False for workload in workloads)


def why_queued(workload: Manifest) -> tuple[str, str]:
    """Return why the run waits in its queue, and what happens next."""
    queue = workload["spec"]["queueName"]
    conditions = {entry["type"]: entry for entry in workload.get("status", {}).get("conditions", [])}
    reserved = conditions.get("QuotaReserved", {})
    message = reserved.get("message", "Kueue has not looked at it yet")
    if reserved.get("status") == "True":
        # Quota is not enough: an admission check may be missing, such as one that waits for a new node.
        message = "it has its quota, and waits for the queue's admission checks"
    if conditions.get("Preempted", {}).get("status") == "True":
        return (
            f"Kueue has preempted it and holds it back in the queue {queue}: {message}",
            "it resumes from its last checkpoint by itself once there is room",
        )
    return f"Kueue holds it back in the queue {queue}: {message}", "it starts by itself once there is room"
