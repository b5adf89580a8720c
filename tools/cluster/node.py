"""The node: a bridge for the pods, containerd, kubelet and kube-proxy."""

import json
from pathlib import Path

from .certificates import Authority
from .network import BRIDGE, CLUSTER_DOMAIN, NODE_ADDRESS, POD_NETWORK, SERVICE_NETWORK
from .sandbox import Sandbox

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CNI_PLUGINS = "/usr/lib/cni"
PAUSE_IMAGE = "phi3k.test/pause:1"

CONTAINERD_CONFIGURATION = """\
version = 2
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{cni_configuration}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"""


def create_bridge(sandbox: Sandbox) -> None:
    """The bridge, with the node's address, before anything wants to listen there."""
    sandbox.run("ip", "link", "add", BRIDGE, "type", "bridge")
    sandbox.run("ip", "address", "add", f"{NODE_ADDRESS}/{POD_NETWORK.partition('/')[2]}", "dev", BRIDGE)
    sandbox.run("ip", "link", "set", BRIDGE, "up")
    # The kernel looks for a route before kube-proxy's rules replace a service's address, and there is no default route.
    sandbox.run("ip", "route", "add", SERVICE_NETWORK, "dev", BRIDGE)
    sandbox.run("sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1")


def containerd(sandbox: Sandbox) -> list[str]:
    """Write containerd's and the pod network's configuration; return the command line."""
    networks = sandbox.directory / "cni"
    networks.mkdir()
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_NETWORK}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}
    (networks / "10-pods.conflist").write_text(json.dumps(network, indent=1))
    configuration = sandbox.directory / "containerd.toml"
    configuration.write_text(
        CONTAINERD_CONFIGURATION.format(pause_image=PAUSE_IMAGE, cni_plugins=CNI_PLUGINS, cni_configuration=networks)
    )
    return ["containerd", f"--config={configuration}"]


def kubelet(binaries: Path, sandbox: Sandbox, authority: Authority, kubeconfig: Path, node: str) -> list[str]:
    """Write kubelet's configuration; return the command line."""
    server = authority.issue("kubelet", names=[f"DNS:{node}", f"IP:{NODE_ADDRESS}"])
    # Off its defaults: OOM scores can't be lowered, cgroups are v1, and the disk is shared with everything else.
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {"x509": {"clientCAFile": str(authority.pair.certificate)}},
        "tlsCertFile": str(server.certificate),
        "tlsPrivateKeyFile": str(server.key),
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{sandbox.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "imageGCHighThresholdPercent": 100,
        # What is short here is this machine's, of which the cluster sees a part; and it counts files in memory as used.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        # Tests wait for what these delay, first of all for certificates to reach the operators.
        "syncFrequency": "2s",
        "nodeStatusUpdateFrequency": "5s",
    }
    file = sandbox.directory / "kubelet.json"
    file.write_text(json.dumps(configuration, indent=1))
    options = [f"--config={file}", f"--kubeconfig={kubeconfig}", f"--hostname-override={node}"]
    return [str(binaries / "kubelet"), *options, f"--node-ip={NODE_ADDRESS}"]


def kube_proxy(binaries: Path, kubeconfig: Path, node: str) -> list[str]:
    """Services by iptables. Conntrack's limits belong to the whole machine, so they are left alone."""
    return [
        str(binaries / "kube-proxy"),
        "--proxy-mode=iptables",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node}",
        f"--cluster-cidr={POD_NETWORK}",
        "--oom-score-adj=0",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]
