"""Runs, jobs and pods as a cluster stores them."""

from typing import Any

from phi3k_jobs.runs import Run


def run(state: str, **status: Any) -> Run:
    job = {"metadata": {"uid": "u"}, "spec": {}, "status": status}
    return Run("demo", "job", state, "2026-01-01T00:00:00Z", None, job)


def merged(value: Any, patch: Any) -> Any:
    """What a merge patch (RFC 7396) makes of a value."""
    if not isinstance(value, dict) or not isinstance(patch, dict):
        return patch
    return {**value, **{key: merged(value.get(key), change) for key, change in patch.items()}}


def pod(name: str, phase: str, created: str = "2026-01-01T00:00:00Z", rank: int = 0, **status: Any) -> dict[str, Any]:
    own = {"batch.kubernetes.io/job-completion-index": str(rank)}
    return {
        "metadata": {"name": name, "creationTimestamp": created, "labels": own},
        "spec": {"containers": [{"name": "trainer"}]},
        "status": {"phase": phase, **status},
    }


def ended(code: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "trainer", "restartCount": 0, "state": {"terminated": {"exitCode": code, **more}}}]
