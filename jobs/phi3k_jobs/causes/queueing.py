"""What Kueue says of a run in a queue: it keeps a Workload beside each job that it manages. Pure."""

from collections.abc import Sequence

from phi3k_jobs.objects.manifest import Manifest


def is_held(workloads: Sequence[Manifest]) -> bool:
    """Return whether somebody has told Kueue to hold the run back."""
    return any(workload["spec"].get("active") is False for workload in workloads)


def why_queued(workload: Manifest) -> tuple[str, str]:
    """Return why the run waits in its queue, and what will come of it."""
    queue = workload["spec"]["queueName"]
    conditions = {entry["type"]: entry for entry in workload.get("status", {}).get("conditions", [])}
    reserved = conditions.get("QuotaReserved", {})
    said = reserved.get("message", "Kueue has not looked at it yet")
    if reserved.get("status") == "True":
        # Quota is not all: an admission check, such as a node that is being bought, may be missing.
        said = "it has its quota, and waits for the queue's admission checks"
    if conditions.get("Preempted", {}).get("status") == "True":
        return (
            f"Kueue has preempted it and holds it back in the queue {queue}: {said}",
            "it resumes from its last checkpoint by itself once there is room",
        )
    return f"Kueue holds it back in the queue {queue}: {said}", "it starts by itself once there is room"
