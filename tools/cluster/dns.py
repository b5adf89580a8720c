"""CoreDNS on the node's address, with the rights that its own deployment gives it."""

from pathlib import Path

from .network import CLUSTER_DOMAIN, NODE_ADDRESS

USER = "system:coredns"

COREFILE = """\
{domain}:53 in-addr.arpa:53 {{
    bind {address}
    errors
    ready 127.0.0.1:8181
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
    }}
    cache 5
}}
"""

VIEWED = ["endpoints", "services", "pods", "namespaces"]
RBAC_GROUP = "rbac.authorization.k8s.io"
ROLE = {
    "apiVersion": f"{RBAC_GROUP}/v1",
    "kind": "ClusterRole",
    "metadata": {"name": USER},
    "rules": [
        {"apiGroups": [""], "resources": VIEWED, "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ],
}
BINDING = {
    "apiVersion": f"{RBAC_GROUP}/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": USER},
    "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": USER},
    "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": USER}],
}
RBAC = {"apiVersion": "v1", "kind": "List", "items": [ROLE, BINDING]}


def coredns(binaries: Path, directory: Path, kubeconfig: Path) -> list[str]:
    """Write the Corefile; return the command line. Names outside the cluster are refused: pods have no way out."""
    corefile = directory / "Corefile"
    corefile.write_text(COREFILE.format(domain=CLUSTER_DOMAIN, address=NODE_ADDRESS, kubeconfig=kubeconfig))
    return [str(binaries / "coredns"), f"-conf={corefile}"]
