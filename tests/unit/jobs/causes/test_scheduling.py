"""The scheduler's messages, as kube-scheduler 1.28 to 1.34 writes them, and the remedy of each reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_jobs.causes.scheduling import Reason, advice, lack_of, reasons

PREEMPTION = ". preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
ONE_POD = "PersistentVolumeClaim with ReadWriteOncePod"
REMEDIES = [
    ("Insufficient cpu", "cluster.resources.cpu"),
    ("Insufficient memory", "cluster.resources.memory"),
    ("Insufficient ephemeral-storage", "cluster.resources.ephemeral_storage"),
    ("Insufficient nvidia.com/gpu", "--gpus"),
    ("Too many pods", "full of pods"),
    (
        "node(s) had untolerated taint {nvidia.com/gpu: present}",
        "{key: nvidia.com/gpu, operator: Equal, value: present}",
    ),
    ("node(s) had untolerated taint {dedicated: }", "{key: dedicated, operator: Exists}"),
    ("node(s) had taint {pool: ml}, that the pod didn't tolerate", "{key: pool, operator: Equal, value: ml}"),
    ("node(s) had untolerated taint(s)", "cluster.tolerations"),
    ("node(s) had taints that the pod didn't tolerate", "cluster.tolerations"),
    ("node(s) had untolerated taint {node.kubernetes.io/unreachable: }", "unhealthy node"),
    ("node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }", "unhealthy node"),
    ("node(s) had untolerated taint {ToBeDeletedByClusterAutoscaler: 1700000000}", "autoscaler removes"),
    ("node(s) had untolerated taint {karpenter.sh/disrupted: }", "autoscaler removes"),
    ("node(s) were unschedulable", "uncordon"),
    ("node(s) didn't match Pod's node affinity/selector", "cluster.node_selector and cluster.pod.affinity"),
    ("node(s) didn't satisfy plugin(s) [NodeAffinity]", "cluster.node_selector"),
    ("node(s) didn't match pod affinity rules", "cluster.topology"),
    ("node(s) didn't match pod anti-affinity rules", "keeps others away"),
    ("node(s) didn't satisfy existing pods anti-affinity rules", "keeps others away"),
    ("node(s) didn't match pod topology spread constraints", "spreads pods"),
    ("node(s) had volume node affinity conflict", "another zone"),
    ("node(s) didn't match PersistentVolume's node affinity", "another zone"),
    ("node(s) had no available volume zone", "another zone"),
    ("node(s) didn't find available persistent volumes to bind", "storage class"),
    ("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", "is gone"),
    ("node(s) exceed max volume count", "volumes as they can"),
    ("node(s) had no available disk", "the same disk"),
    ("node(s) didn't have free ports for the requested pod ports", "cluster.pod.host_network"),
    ("cannot allocate all claims", "cluster.pod.resource_claims"),
    ("Insufficient hugepages-2Mi", "cluster.pod.extra_resources"),
    ("Insufficient nvidia.com/mig-3g.40gb", "--gpus"),
    (f"node(s) unavailable due to {ONE_POD} access mode already in-use by another pod", "allows only one"),
]


@pytest.mark.parametrize(("reason", "words"), REMEDIES)
def test_each_reason_has_its_own_remedy(reason: str, words: str) -> None:
    found = advice(f"0/4 nodes are available: 4 {reason}{PREEMPTION}")
    assert words in found
    assert words in ("--gpus", "cluster.pod.extra_resources") or "--gpus" not in found


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("pod has unbound immediate PersistentVolumeClaims", "storage class"),
        ('persistentvolumeclaim "phi3k-runs" not found', "is gone"),
    ],
)
def test_a_reason_that_holds_for_every_node_stands_without_a_number(reason: str, words: str) -> None:
    message = f"0/4 nodes are available: {reason}{PREEMPTION}"
    assert reasons(message) == [Reason(None, reason)]
    assert words in advice(message)


@pytest.mark.parametrize(
    "message",
    [
        "Scheduling is blocked due to non-empty scheduling gates",
        "waiting for scheduling gates: [kueue.x-k8s.io/topology]",
    ],
)
def test_scheduling_gates_belong_to_a_controller(message: str) -> None:
    assert "controller" in advice(message)


def test_what_the_recipe_can_change_comes_before_what_takes_waiting() -> None:
    taint = "node(s) had untolerated taint {nvidia.com/gpu: present}"
    found = advice(f"0/9 nodes are available: 2 {taint}, 7 Insufficient cpu{PREEMPTION}")
    assert found.index("cluster.tolerations") < found.index("cluster.resources.cpu")


def test_the_reason_that_rules_out_most_nodes_comes_first_among_its_like() -> None:
    found = advice("0/9 nodes are available: 2 Insufficient cpu, 7 Insufficient nvidia.com/gpu.")
    assert found.index("--gpus") < found.index("cluster.resources.cpu")


@pytest.mark.parametrize(
    "meant",
    [
        "node(s) didn't match Pod's node affinity/selector",
        "node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }",
    ],
)
def test_nodes_that_are_ruled_out_on_purpose_count_only_where_no_others_are_left(meant: str) -> None:
    others = f"0/8 nodes are available: 5 {meant}, 3 Insufficient nvidia.com/gpu."
    assert advice(others) == "wait for other pods to finish, or ask for less with --gpus"
    assert advice(f"0/5 nodes are available: 5 {meant}.") not in ("", advice(others))


@given(
    st.lists(
        st.tuples(st.integers(1, 9999), st.sampled_from(REMEDIES)), min_size=1, max_size=6, unique_by=lambda x: x[1]
    )
)
def test_a_message_of_any_reasons_is_taken_apart_into_them(mixed: list[tuple[int, tuple[str, str]]]) -> None:
    told = ", ".join(f"{nodes} {reason}" for nodes, (reason, _) in mixed)
    found = reasons(f"0/9999 nodes are available: {told}{PREEMPTION}")
    assert found == [Reason(nodes, reason) for nodes, (reason, _) in mixed]


def test_whom_the_scheduler_would_preempt_is_not_what_the_pod_lacks() -> None:
    for separator in (". preemption: ", ". no new claims to deallocate, preemption: "):
        message = f"0/1 nodes are available: 1 Insufficient cpu{separator}0/1 nodes are available."
        assert lack_of(message) == "0/1 nodes are available: 1 Insufficient cpu"
