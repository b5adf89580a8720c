"""The smallest role with which every verb of the cluster works, in one namespace and without its secrets."""

from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.manifest import Manifest

ROLE_NAME = "phi3k-submit"
JOBS = ("create", "delete", "get", "list", "patch")
# Applying creates what is missing and patches what is there; when submit fails, it deletes what it created.
APPLIED = ("create", "delete", "get", "patch")

_KINDS = sorted(KINDS.values(), key=lambda kind: kind.job.group)
_NEEDS = [resource for kind in _KINDS for resource in kind.needs]
_CORE_NEEDS = sorted({resource.plural for resource in _NEEDS if not resource.group})
RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    *((kind.job.group, (kind.job.plural,), JOBS) for kind in _KINDS),
    *((resource.group, (resource.plural,), APPLIED) for resource in _NEEDS if resource.group),
    ("", ("configmaps", "persistentvolumeclaims", "serviceaccounts", *_CORE_NEEDS), APPLIED),
    ("networking.k8s.io", ("networkpolicies",), APPLIED),
    ("policy", ("poddisruptionbudgets",), APPLIED),
    ("monitoring.coreos.com", ("podmonitors",), APPLIED),
    ("", ("pods",), ("get", "list")),
    ("", ("pods/log",), ("get",)),
    # Only for copying files into and out of a pod. Everything else works without it.
    ("", ("pods/exec",), ("create", "get")),
    ("", ("events", "resourcequotas"), ("list",)),
    ("kueue.x-k8s.io", ("localqueues",), ("list",)),
    ("kueue.x-k8s.io", ("workloads",), ("list", "patch")),
)


def role() -> Manifest:
    """Return the Role; it goes into the namespace it is applied to."""
    rules = [{"apiGroups": [group], "resources": list(names), "verbs": list(verbs)} for group, names, verbs in RULES]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": ROLE_NAME, "labels": {"app.kubernetes.io/name": "phi3k"}},
        "rules": rules,
    }
