"""What keeps a container from starting on its node: its image, its secrets, its volumes, the node. Pure functions."""

import re
from typing import NamedTuple

IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
)
CREATION_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
EVENT_REASONS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")


class Obstacle(NamedTuple):
    """Why something does not start, and what to do about it."""

    cause: str
    action: str


_IMAGE = (
    (
        re.compile(r"no match for platform|exec format", re.I),
        "choose nodes of the image's platform with cluster.node_selector (kubernetes.io/arch), or another "
        "cluster.image",
    ),
    (
        re.compile(r"toomanyrequests|\b429\b|rate limit", re.I),
        "wait: the registry limits the number of pulls; name an account with a higher limit in "
        "cluster.image_pull_secrets",
    ),
    (
        re.compile(r"unauthorized|authentication required|denied|forbidden|\b40[13]\b", re.I),
        "name the registry's secret in cluster.image_pull_secrets, or correct cluster.image",
    ),
    (
        re.compile(r"no such host|timeout|refused|unreachable|deadline exceeded|unavailable", re.I),
        "the node can't reach the registry of cluster.image: correct it, or ask the cluster's administrator about the "
        "network",
    ),
    (
        re.compile(r"not found|manifest unknown|does not exist|\b404\b|couldn't parse|invalid reference", re.I),
        "correct cluster.image: the registry has no image of that name",
    ),
    (
        re.compile(r"x509|certificate", re.I),
        "the node does not trust the registry's certificate: ask the cluster's administrator, or name another registry "
        "in cluster.image",
    ),
    (
        re.compile(r"no space left", re.I),
        "the node's disk is full: ask the cluster's administrator to clear it, or choose other nodes with "
        "cluster.node_selector",
    ),
)
_IMAGE_DEFAULT = "correct cluster.image, or name its registry's secret in cluster.image_pull_secrets"

_CONFIG_MAP_GONE = (
    re.compile(r'configmap "(?P<name>[^"]+)" not found'),
    "create the ConfigMap {name} if cluster.pod names it; if it is the run's own, cancel the run and submit it again",
)
_SECRET_MISSING = (
    re.compile(r'secret "(?P<secret>[^"]+)" not found'),
    "create the secret {secret}: the pod then starts by itself",
)
_CREATION = (
    (
        re.compile(r"couldn't find key (?P<key>\S+) in Secret (?:\S+/)?(?P<secret>\S+)"),
        "add the key {key} to the secret {secret}: the pod then starts by itself",
    ),
    _SECRET_MISSING,
    _CONFIG_MAP_GONE,
    (
        re.compile(r"nvidia|CDI device", re.I),
        "the node's NVIDIA driver or container toolkit fails: ask the cluster's administrator to look at that node, or "
        "choose others with cluster.node_selector",
    ),
    (
        re.compile(r"no such file or directory|executable file not found|permission denied"),
        "correct cluster.image: it is not an image of phi3k",
    ),
    (re.compile(r"failed to sync|context deadline exceeded|timed out"), "wait: the node is slow and retries"),
)
_CREATION_DEFAULT = "the node retries; if the problem persists, ask the cluster's administrator to look at the node"

_EVENTS = (
    (
        re.compile(r'no runtime for "(?P<name>[^"]+)"'),
        "the node lacks the container runtime {name}: ask the cluster's administrator to install it, choose other "
        "nodes with cluster.node_selector, or another runtime with cluster.pod.runtime_class",
    ),
    (
        re.compile(r"applyFSGroup|permission denied|operation not permitted", re.I),
        "the volume's storage refuses to change the group of its files to cluster.pod.fs_group: set that to null and "
        "add the group of the files to cluster.pod.supplemental_groups, or ask the storage's administrator to allow it",
    ),
    (
        re.compile(r"Multi-Attach|already (?:exclusively attached|used by)"),
        "the volume is attached to another node: wait until the pod there ends, or name a claim with ReadWriteMany",
    ),
    (
        re.compile(r"access denied by server"),
        "ask the storage's administrator to let this node mount the claim's volume",
    ),
    (
        re.compile(r"bad option|wrong fs type|unknown filesystem|driver name \S+ not found"),
        "the node lacks the driver of the claim's storage: ask the cluster's administrator to install it, or choose "
        "other nodes with cluster.node_selector",
    ),
    _SECRET_MISSING,
    _CONFIG_MAP_GONE,
    (
        re.compile(r"network|cni|assign an IP|no IP addresses", re.I),
        "wait: the node's network retries; if the problem persists, ask the cluster's administrator to look at the "
        "node",
    ),
)
_EVENT_DEFAULTS = {
    "FailedCreatePodSandBox": "ask the cluster's administrator to look at the node, or choose others with "
    "cluster.node_selector",
}
_VOLUME_DEFAULT = "`kubectl describe pvc` and `kubectl describe pod` show more; the recipe names the claims"


def obstacle_to_container(reason: str, message: str, image: str) -> Obstacle | None:
    """Return why a container does not start, by the kubelet's reason and message; None if it is starting."""
    if reason in IMAGE_REASONS:
        if reason == "ErrImageNeverPull":
            action = "load the image on the node, or set cluster.image_pull_policy to IfNotPresent"
        else:
            action = _advice(_IMAGE, message) or _IMAGE_DEFAULT
        return Obstacle(f"the image {image} can't be pulled: {message or reason}", action)
    if reason in CREATION_REASONS:
        return Obstacle(f"the container can't be created: {message}", _advice(_CREATION, message) or _CREATION_DEFAULT)
    return None


def obstacle_to_foreign_container(reason: str, message: str, name: str) -> Obstacle | None:
    """Return why a container that is not phi3k's does not start; None if it is starting."""
    if reason not in (*IMAGE_REASONS, *CREATION_REASONS, "CrashLoopBackOff"):
        return None
    return Obstacle(
        f"the container {name}, which the cluster has added to the pod, does not start: {message or reason}",
        "ask the cluster's administrator, or keep that container out of the run's pods: the recipe does not add it",
    )


def obstacle_on_node(reason: str, message: str) -> Obstacle | None:
    """Return why a pod can't start on its node, by an event; None if the event reports something else."""
    if reason not in EVENT_REASONS:
        return None
    what = "the node can't create the pod" if reason in _EVENT_DEFAULTS else "a volume can't be mounted"
    return Obstacle(f"{what}: {message}", _advice(_EVENTS, message) or _EVENT_DEFAULTS.get(reason, _VOLUME_DEFAULT))


def failed_start(message: str) -> str:
    """Return what to do about a container that its runtime could not start."""
    return _advice(_CREATION, message) or "correct cluster.image: it is not an image of phi3k"


def _advice(remedies: tuple[tuple[re.Pattern[str], str], ...], message: str) -> str | None:
    for pattern, action in remedies:
        if found := pattern.search(message):
            return action.format(**found.groupdict())
    return None
