"""What keeps the API server from making a run's pods, and what to do about it. Pure."""

import re

# Kubernetes' own admission, then what clusters add to it.
_REMEDIES = (
    (
        re.compile(r"must specify limits\.cpu"),
        "set cluster.resources.cpu_limit: without it phi3k sets no limit of CPUs, so that idle cores are used",
    ),
    (
        re.compile(r"failed quota: .*must specify"),
        "give the namespace a LimitRange with defaults for what is named, or a quota without it",
    ),
    (re.compile(r"maximum cpu usage per"), "lower cluster.resources.cpu to what the namespace's LimitRange allows"),
    (
        re.compile(r"maximum memory usage per"),
        "lower cluster.resources.memory to what the namespace's LimitRange allows",
    ),
    (
        re.compile(r"maximum ephemeral-storage usage per"),
        "lower cluster.resources.ephemeral_storage to what the namespace's LimitRange allows",
    ),
    (
        re.compile(r"(maximum|minimum) \S+ usage per|limit to request ratio"),
        "change cluster.resources to what the namespace's LimitRange allows",
    ),
    (
        re.compile(r"security context constraint"),
        "set cluster.pod.user, cluster.pod.group and cluster.pod.fs_group to null, so that the namespace chooses them; "
        "or ask for a constraint that lets the run's service account use them: `oc adm policy add-scc-to-user "
        "nonroot-v2 --serviceaccount NAME`, with the account of cluster.pod.service_account or else {run}",
    ),
    (
        re.compile(r"violates PodSecurity"),
        "phi3k's own pod keeps the policy `restricted`: remove what is named from cluster.pod and cluster.overlay, "
        "keep out of the pod what the cluster adds (a sidecar?), or ask for another policy in the namespace",
    ),
    (re.compile(r"no PriorityClass with name"), "name a priority class that the cluster has in cluster.priority_class"),
    (
        re.compile(r"serviceaccount \S+ not found"),
        "cancel the run and submit it again, which makes its own service account; one that cluster.pod.service_account "
        "names has to be there before",
    ),
    (
        re.compile(r'RuntimeClass "\S+" not found'),
        "name a runtime class that the cluster has in cluster.pod.runtime_class",
    ),
    (
        re.compile(r"failed calling webhook"),
        "wait: a webhook of the cluster does not answer; if it stays so, who runs the cluster has to look at it",
    ),
    (
        re.compile(r"admission webhook .* denied|denied by|blocked due to"),
        "a policy of the cluster forbids it: give what it demands by cluster.pod (labels, annotations and more) or "
        "cluster.overlay, or ask who runs the cluster for an exception",
    ),
)


def advice(message: str, run: str) -> str:
    """Return what to do about the refusal of a pod of the run named `run`."""
    for pattern, action in _REMEDIES:
        if pattern.search(message):
            return action.format(run=run)
    return (
        "correct what it names in cluster.pod or cluster.overlay if it came from there; else ask who runs the cluster"
    )
