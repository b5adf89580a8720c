"""The one error of the test cluster."""

ELSEWHERE = "elsewhere set PHI3K_TEST_KUBECONFIG to the kubeconfig of a cluster to test on"


class ClusterError(Exception):
    """The cluster can't be built, started or stopped; the message says what to do."""
