"""The whole cluster: `up` starts it, `down` removes it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import kubernetes

from . import control_plane, dns, node, sandbox
from .certificates import create_authority
from .errors import ClusterError
from .images import basic_images, import_image
from .network import API_PORT, INNER_SERVER
from .operators import OPERATORS, PreparedOperator, prepare
from .packages import install_missing_packages
from .sandbox import Sandbox
from .tools import COREDNS, ETCD, KUBERNETES, build

NODE = "node-0"


@dataclass(frozen=True)
class Cluster:
    """A cluster to run tests on; `sandbox` is None where it is someone else's."""

    kubeconfig: Path
    kubectl_program: Path
    sandbox: Sandbox | None

    def kubectl(self, *arguments: str, manifest: object | None = None) -> str:
        """Run kubectl, a manifest on its standard input, and return what it printed; ClusterError if it fails."""
        result = self.try_kubectl(*arguments, manifest=manifest)
        if result.returncode != 0:
            raise ClusterError(f"`kubectl {' '.join(arguments)}` ended with {result.returncode}:\n{result.stderr}")
        return result.stdout

    def try_kubectl(self, *arguments: str, manifest: object | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as `kubectl` does, and return however it ended."""
        command = [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *arguments]
        text = "" if manifest is None else json.dumps(manifest)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    def api_client(self) -> kubernetes.client.ApiClient:
        """A client of the kubernetes Python package; close it, or use it as a context."""
        return kubernetes.config.new_client_from_config(config_file=str(self.kubeconfig))

    def load_image(self, archive: Path) -> None:
        """Make the image in a docker archive known to the node, under the names in it."""
        if self.sandbox is None:
            raise ClusterError(
                "images can't be loaded into a cluster that isn't ours: push it where that can pull it from"
            )
        import_image(self.sandbox, archive)


@dataclass(frozen=True)
class Programs:
    """Everything that is built before the clock of a start runs."""

    etcd: Path
    kubernetes: Path
    coredns: Path
    operators: tuple[PreparedOperator, ...]


def build_programs() -> Programs:
    """Install the packages, build the binaries, render the manifests and write the images; instant once cached."""
    install_missing_packages()
    kubernetes_binaries = build(KUBERNETES)
    operators = tuple(prepare(operator, kubernetes_binaries / "kubectl") for operator in OPERATORS)
    return Programs(build(ETCD), kubernetes_binaries, build(COREDNS), operators)


def up(name: str, *, detached: bool) -> Cluster:
    """Start a cluster with all operators ready; it ends with this process unless `detached`.

    Raises:
        ClusterError: it couldn't be started; nothing of it is left then.
    """
    programs = build_programs()
    box = sandbox.create(name, detached=detached)
    try:
        return Startup(box, programs).run()
    except BaseException:
        failed_logs = sandbox.STATE_ROOT.parent / f"phi3k-cluster-{name}-failed-logs"
        shutil.copytree(box.directory / "log", failed_logs, dirs_exist_ok=True)
        sandbox.destroy(name)
        raise


def down(name: str) -> None:
    """Stop the cluster and remove everything it made."""
    sandbox.destroy(name)


def existing(kubeconfig: Path) -> Cluster:
    """Someone else's cluster.

    Raises:
        ClusterError: there is no kubectl on the PATH.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ClusterError("PHI3K_TEST_KUBECONFIG is set, but there is no kubectl on the PATH")
    return Cluster(kubeconfig, Path(kubectl), None)


class Startup:
    """The steps of a start, in the order that makes it short; they share what has been started."""

    def __init__(self, box: Sandbox, programs: Programs) -> None:
        self.box = box
        self.programs = programs
        self.authority = create_authority(box.directory / "pki")
        _, self.address = box.addresses
        server = f"https://{self.address}:{API_PORT}"
        admin = self.authority.issue("admin", "system:masters")
        kubeconfig = self.authority.write_kubeconfig(box.directory / "kubeconfig", server, admin)
        self.cluster = Cluster(kubeconfig, programs.kubernetes / "kubectl", box)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> Cluster:
        """Start everything and wait until it serves."""
        self.start_control_plane()
        self.load_images()
        self.wait("the API server", lambda: self.succeeds("get", "--raw=/readyz"), 60)
        self.start_node()
        self.apply_operators()
        self.wait("the node", lambda: self.condition("node", NODE, "Ready"), 60)
        self.wait("the operators", self.operators_are_available, 120)
        return self.cluster

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one process inside."""
        self.processes[name] = self.box.spawn(name, command)

    def start_control_plane(self) -> None:
        """Etcd, containerd (it has images to load meanwhile) and the API server."""
        node.create_bridge(self.box)
        self.start("etcd", control_plane.etcd(self.programs.etcd, self.box.directory / "etcd"))
        self.start("containerd", node.containerd(self.box))
        self.start(
            "kube-apiserver", control_plane.api_server(self.programs.kubernetes, self.authority, [f"IP:{self.address}"])
        )

    def load_images(self) -> None:
        """The pause image, the tests' image and the operators' images."""
        socket = Path(f"/proc/{self.box.init}/root{node.CONTAINERD_SOCKET}")
        self.wait("containerd", socket.exists, 30)
        for number, image in enumerate(basic_images()):
            import_image(self.box, image.write(self.box.directory / f"image-{number}.tar"))
        for operator in self.programs.operators:
            import_image(self.box, operator.image)

    def start_node(self) -> None:
        """What needs the API server: the controllers, the node's agents, DNS."""
        binaries = self.programs.kubernetes
        manager = self.kubeconfig("system:kube-controller-manager")
        self.start("kube-controller-manager", control_plane.controller_manager(binaries, self.authority, manager))
        self.start("kube-scheduler", control_plane.scheduler(binaries, self.kubeconfig("system:kube-scheduler")))
        kubelet = self.kubeconfig(f"system:node:{NODE}", "system:nodes")
        self.start("kubelet", node.kubelet(binaries, self.box, self.authority, kubelet, NODE))
        proxy = self.kubeconfig("system:kube-proxy")
        self.start("kube-proxy", node.kube_proxy(binaries, proxy, NODE))
        self.cluster.kubectl("apply", "--server-side", "-f", "-", manifest=dns.RBAC)
        self.start("coredns", dns.coredns(self.programs.coredns, self.box.directory, self.kubeconfig(dns.USER)))

    def kubeconfig(self, user: str, group: str | None = None) -> Path:
        """The kubeconfig of a component inside."""
        pair = self.authority.issue(user, group)
        return self.authority.write_kubeconfig(pair.key.with_suffix(".kubeconfig"), INNER_SERVER, pair)

    def apply_operators(self) -> None:
        """Apply each operator's manifests."""
        for operator in self.programs.operators:
            for manifest in operator.manifests.values():
                apply = partial(self.succeeds, "apply", "--server-side", "--force-conflicts", "-f", str(manifest))
                # A resource can only be made a moment after its definition.
                self.wait(f"`kubectl apply -f {manifest}`", apply, 30)

    def operators_are_available(self) -> bool:
        """Whether all Deployments of the operators have a ready pod."""
        deployments = (operator.deployment for operator in self.programs.operators)
        return all(self.condition("deployment", name, "Available", namespace) for namespace, name in deployments)

    def succeeds(self, *arguments: str) -> bool:
        """Whether kubectl does."""
        return self.cluster.try_kubectl(*arguments).returncode == 0

    def condition(self, kind: str, name: str, condition: str, namespace: str = "default") -> bool:
        """Whether a condition of an object is True."""
        path = f'jsonpath={{.status.conditions[?(@.type=="{condition}")].status}}'
        result = self.cluster.try_kubectl("get", kind, name, f"--namespace={namespace}", f"--output={path}")
        return result.stdout == "True"

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait, but not for something that has died."""

        def condition_while_all_live() -> bool:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    tail = self.box.log(name).read_text(errors="replace")[-3000:]
                    raise ClusterError(f"{name} ended with {process.returncode}:\n{tail}")
            return condition()

        begin = time.monotonic()
        sandbox.wait_until(condition_while_all_live, what, seconds)
        if os.environ.get("PHI3K_CLUSTER_TIMES"):
            print(f"{what}: {time.monotonic() - begin:.1f} s", flush=True)
