"""What keeps a container from starting, in the words of kubelet, runtime and registries."""

import pytest

from phi3k_jobs.causes.starting import failed_start, obstacle_on_node, obstacle_to_container
from phi3k_jobs.watch.diagnosis import Facts, diagnose
from tests.unit.jobs.making import pod, run


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Back-off pulling image: toomanyrequests: You have reached your pull rate limit", "wait"),
        ("failed to authorize: 401 Unauthorized", "image_pull_secrets"),
        ("manifest unknown", "correct cluster.image"),
        ("no match for platform in manifest: not found", "kubernetes.io/arch"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate"),
        ("dial tcp: lookup registry.example: no such host", "network"),
        ("", "image_pull_secrets"),
    ],
)
def test_an_image_that_cannot_be_pulled_has_the_remedy_of_its_cause(message: str, words: str) -> None:
    found = obstacle_to_container("ErrImagePull", message, "example/phi3k:1")
    assert found is not None
    assert "example/phi3k:1" in found.cause
    assert words in found.action


def test_an_image_that_may_not_be_pulled_is_the_recipes_own_policy() -> None:
    found = obstacle_to_container("ErrImageNeverPull", "not present with pull policy of Never", "i")
    assert found is not None
    assert "cluster.image_pull_policy" in found.action


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("couldn't find key HF_TOKEN in Secret team/hf", "add the key HF_TOKEN to the secret hf"),
        ('secret "hf" not found', "create the secret hf"),
        ('configmap "demo-recipe-1" not found', "submit it again"),
    ],
)
def test_what_a_container_misses_is_named(message: str, words: str) -> None:
    found = obstacle_to_container("CreateContainerConfigError", message, "i")
    assert found is not None
    assert words in found.action


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("FailedMount", "applyFSGroup failed for vol: open x: permission denied", "cluster.pod.fs_group"),
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "keys" : secret "keys" not found',
            "create the secret keys",
        ),
        ("FailedMount", 'MountVolume.SetUp failed : configmap "ca" not found', "create the ConfigMap ca"),
        ("FailedMount", "mount.nfs: access denied by server while mounting nfs:/a", "storage"),
        ("FailedMount", "mount: wrong fs type, bad option, bad superblock on nfs:/a", "driver"),
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) x',
            "ReadWriteMany",
        ),
        ("FailedCreatePodSandBox", 'no runtime for "nvidia" is configured', "cluster.pod.runtime_class"),
        ("FailedCreatePodSandBox", "plugin type=calico failed (add): failed to assign an IP", "network"),
    ],
)
def test_what_is_in_a_pods_way_on_its_node_has_its_own_remedy(reason: str, message: str, words: str) -> None:
    found = obstacle_on_node(reason, message)
    assert found is not None
    assert words in found.action


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            'exec: "/opt/phi3k/bin/python": stat /opt/phi3k/bin/python: no such file or directory',
            "not an image of phi3k",
        ),
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "NVIDIA driver"),
    ],
)
def test_a_start_that_fails_blames_the_image_only_where_it_is_the_cause(message: str, words: str) -> None:
    assert words in failed_start(message)


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CreateContainerError", "CrashLoopBackOff"])
@pytest.mark.parametrize("field", ["initContainerStatuses", "containerStatuses"])
def test_a_container_of_the_clusters_own_does_not_blame_the_recipe(reason: str, field: str) -> None:
    foreign = {"name": "istio-init", "image": "proxy", "state": {"waiting": {"reason": reason, "message": "m"}}}
    found = diagnose(Facts(run("Pending"), [pod("demo-0", "Pending", **{field: [foreign]})]))
    assert "istio-init, which the cluster has added to the pod, does not start: m" in found.cause
    assert "cluster.image" not in found.action
