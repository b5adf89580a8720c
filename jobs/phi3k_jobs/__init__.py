"""From a recipe to Kubernetes objects, and the cluster they live in. docs/python.md shows its use."""

from typing import TYPE_CHECKING

from phi3k_trainer.lazy import lazy_names

if TYPE_CHECKING:
    from phi3k_jobs.api.cluster import Cluster
    from phi3k_jobs.api.connection import connect
    from phi3k_jobs.helm_values import helm_values as to_helm_values
    from phi3k_jobs.render import objects as render_run
    from phi3k_jobs.render import to_json, to_yaml
    from phi3k_jobs.runs import Run, find_run, list_runs, set_suspended
    from phi3k_jobs.runs import cancel as cancel_run
    from phi3k_jobs.submit.submission import Submission
    from phi3k_jobs.submit.submission import submit as submit_run
    from phi3k_jobs.watch.diagnosis import Diagnosis
    from phi3k_jobs.watch.following import follow_logs
    from phi3k_jobs.watch.logs import Line, read_logs
    from phi3k_jobs.watch.status import RunStatus, run_status
    from phi3k_jobs.watch.waiting import exit_code
    from phi3k_jobs.watch.waiting import wait_for_end as wait_for_run
else:
    # `submit` and `objects` are folders of this package, so a function says what it is done to.
    __getattr__ = lazy_names(
        __name__,
        {
            "Cluster": "api.cluster",
            "Diagnosis": "watch.diagnosis",
            "Line": "watch.logs",
            "Run": "runs",
            "RunStatus": "watch.status",
            "Submission": "submit.submission",
            "cancel_run": "runs:cancel",
            "connect": "api.connection",
            "exit_code": "watch.waiting",
            "find_run": "runs",
            "follow_logs": "watch.following",
            "list_runs": "runs",
            "read_logs": "watch.logs",
            "render_run": "render:objects",
            "run_status": "watch.status",
            "set_suspended": "runs",
            "submit_run": "submit.submission:submit",
            "to_helm_values": "helm_values:helm_values",
            "to_json": "render",
            "to_yaml": "render",
            "wait_for_run": "watch.waiting:wait_for_end",
        },
    )

__all__ = [
    "Cluster",
    "Diagnosis",
    "Line",
    "Run",
    "RunStatus",
    "Submission",
    "cancel_run",
    "connect",
    "exit_code",
    "find_run",
    "follow_logs",
    "list_runs",
    "read_logs",
    "render_run",
    "run_status",
    "set_suspended",
    "submit_run",
    "to_helm_values",
    "to_json",
    "to_yaml",
    "wait_for_run",
]
