"""Why the API server refuses to create a run's pods, and what to do about it. Pure functions."""

import re

# Kubernetes' own admission first, then the policies that clusters add.
_REMEDIES = (
    (
        re.compile(r"must specify limits\.cpu"),
        "set cluster.resources.cpu_limit: without it phi3k sets no CPU limit, so that a run can use idle cores",
    ),
    (
        re.compile(r"failed quota: .*must specify"),
        "add a LimitRange with defaults for the resources that the message names, or remove them from the quota",
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
        "or ask for a constraint that allows them to the run's service account: `oc adm policy add-scc-to-user "
        "nonroot-v2 --serviceaccount NAME`, with the account of cluster.pod.service_account or else {run}",
    ),
    (
        re.compile(r"violates PodSecurity"),
        "phi3k's own pod complies with the policy `restricted`: remove what the message names from cluster.pod and "
        "cluster.overlay, stop the cluster from adding it (a sidecar?), or ask for another policy in the namespace",
    ),
    (re.compile(r"no PriorityClass with name"), "name a priority class that the cluster has in cluster.priority_class"),
    (
        re.compile(r"serviceaccount \S+ not found"),
        "cancel the run and submit it again, which creates its own service account; an account that "
        "cluster.pod.service_account names must exist before",
    ),
    (
        re.compile(r'RuntimeClass "\S+" not found'),
        "name a runtime class that the cluster has in cluster.pod.runtime_class",
    ),
    (
        re.compile(r"failed calling webhook"),
        "wait: a webhook of the cluster does not answer; if the problem persists, ask the cluster's administrator",
    ),
    (
        re.compile(r"admission webhook .* denied|denied by|blocked due to"),
        "a policy of the cluster forbids it: add what the policy requires with cluster.pod (labels, annotations and "
        "more) or cluster.overlay, or ask the cluster's administrator for an exception",
    ),
)


def advice(message: str, run: str) -> str:
    """Return what to do about the refusal of a pod of the run named `run`."""
    for pattern, action in _REMEDIES:
        if pattern.search(message):
            return action.format(run=run)
    return (
        "correct what the message names if it comes from cluster.pod or cluster.overlay; otherwise ask the cluster's "
        "administrator"
    )
