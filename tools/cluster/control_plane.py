"""etcd, API server, controller manager and scheduler: the command lines."""

from collections.abc import Sequence
from pathlib import Path

from .certificates import Authority, KeyPair
from .network import API_PORT, NODE_ADDRESS, SERVICE_ADDRESS, SERVICE_NETWORK

ETCD_CLIENT = "http://127.0.0.1:2379"
ISSUER = "https://kubernetes.default.svc.cluster.local"


def etcd(binaries: Path, data: Path) -> list[str]:
    """The store, on the sandbox's loopback. Nothing survives a test, so nothing is synced to disk."""
    return [
        str(binaries / "server"),
        f"--data-dir={data}",
        f"--listen-client-urls={ETCD_CLIENT}",
        f"--advertise-client-urls={ETCD_CLIENT}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(binaries: Path, authority: Authority, outer_names: Sequence[str]) -> list[str]:
    """The API server on all addresses of the sandbox; `outer_names` are the ones that clients outside use."""
    names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", *outer_names]
    names += [f"IP:{address}" for address in ("127.0.0.1", NODE_ADDRESS, SERVICE_ADDRESS)]
    server = authority.issue("kube-apiserver", names=names)
    kubelet_client = authority.issue("kube-apiserver-kubelet-client", "system:masters")
    front_proxy = authority.issue("front-proxy-client")
    certificate = authority.pair.certificate
    return [
        str(binaries / "kube-apiserver"),
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers={ETCD_CLIENT}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={certificate}",
        *_tls(server),
        f"--kubelet-certificate-authority={certificate}",
        f"--kubelet-client-certificate={kubelet_client.certificate}",
        f"--kubelet-client-key={kubelet_client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        # Kueue serves an API of its own behind this one; were it unreachable, no namespace could be deleted.
        f"--requestheader-client-ca-file={certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={front_proxy.certificate}",
        f"--proxy-client-key-file={front_proxy.key}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={certificate}",
        f"--service-account-signing-key-file={authority.pair.key}",
    ]


def controller_manager(binaries: Path, authority: Authority, kubeconfig: Path) -> list[str]:
    """The controllers; alone, so without election."""
    return [
        str(binaries / "kube-controller-manager"),
        *_with_kubeconfig(kubeconfig),
        "--use-service-account-credentials=true",
        # A node whose heartbeat is late is one of a busy machine, not a lost one.
        "--node-monitor-grace-period=300s",
        f"--root-ca-file={authority.pair.certificate}",
        f"--service-account-private-key-file={authority.pair.key}",
        f"--cluster-signing-cert-file={authority.pair.certificate}",
        f"--cluster-signing-key-file={authority.pair.key}",
    ]


def scheduler(binaries: Path, kubeconfig: Path) -> list[str]:
    """The scheduler; alone, so without election."""
    return [str(binaries / "kube-scheduler"), *_with_kubeconfig(kubeconfig)]


def _tls(pair: KeyPair) -> list[str]:
    return [f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"]


def _with_kubeconfig(kubeconfig: Path) -> list[str]:
    options = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    # Their own limits, 20 and 50 requests a second, would be all that a thousand nodes or runs wait for.
    limits = ("--kube-api-qps=1000", "--kube-api-burst=2000")
    return ["--leader-elect=false", *limits, *(f"--{option}={kubeconfig}" for option in options)]
