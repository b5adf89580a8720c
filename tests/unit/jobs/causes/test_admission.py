"""Refusals of pods, in the words of Kubernetes' own admission and of what clusters add."""

import pytest

from phi3k_jobs.causes.admission import advice


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("failed quota: team: must specify limits.cpu for: trainer", "set cluster.resources.cpu_limit"),
        ("failed quota: team: must specify requests.storage for: trainer", "LimitRange"),
        ("maximum memory usage per Container is 32Gi, but limit is 64Gi", "cluster.resources.memory"),
        ("maximum cpu usage per Container is 4, but limit is 8", "cluster.resources.cpu"),
        ("minimum memory usage per Pod is 1Gi, but request is 64Mi", "cluster.resources"),
        (
            "unable to validate against any security context constraint: [provider restricted-v2: ...",
            "set cluster.pod.user, cluster.pod.group and cluster.pod.fs_group to null",
        ),
        (
            'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "istio-init"',
            "remove what the message names from cluster.pod and cluster.overlay",
        ),
        ("no PriorityClass with name high was found", "cluster.priority_class"),
        ('error looking up service account team/demo: serviceaccount "demo" not found', "cluster.pod.service_account"),
        ('pod rejected: RuntimeClass "nvidia" not found', "cluster.pod.runtime_class"),
        ('failed calling webhook "x": context deadline exceeded', "wait"),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: resource was blocked',
            "add what the policy requires with cluster.pod",
        ),
        ("something else", "ask the cluster's administrator"),
    ],
)
def test_each_refusal_has_the_remedy_of_its_cause(message: str, words: str) -> None:
    found = advice(f'Error creating: pods "demo-0-x" is forbidden: {message}', "demo")
    assert words in found
