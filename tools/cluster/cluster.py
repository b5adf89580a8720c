"""The whole cluster: `up` starts it; its sandbox removes it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import kubernetes

from . import control_plane, dns, node, sandbox, volumes
from .api import create_reader
from .certificates import create_authority
from .errors import ClusterError
from .images import basic_images, import_image
from .network import API_PORT, INNER_SERVER
from .operators import OPERATORS, Operator, PreparedOperator, prepare
from .packages import install_packages
from .sandbox import Sandbox
from .tools import ETCD, HELM_AND_COREDNS, KUBERNETES, build, cache_directory

NODE = "node-0"
# Names the running cluster, with all images, that the processes of a parallel test run share.
SHARED_VARIABLE = "PHI3K_TEST_CLUSTER"
APPLY = ("apply", "--server-side", "--force-conflicts")
PROBES = Path(__file__).with_name("manifests") / "probes.yaml"


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

    def wait_until_established(self, *definitions: str) -> None:
        """Wait until the API server serves the resources of those definitions, named as `kubectl wait` takes them."""
        arguments = ("wait", *definitions, "--for=condition=Established", "--timeout=30s")
        # kubectl gives up at once on a definition that has no conditions yet.
        sandbox.wait_until(lambda: self.try_kubectl(*arguments).returncode == 0, f"`kubectl {' '.join(arguments)}`", 30)

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


def obstacle() -> str | None:
    """Why the tests have no cluster of our own here, or None."""
    if "PHI3K_TEST_KUBECONFIG" in os.environ:
        return "PHI3K_TEST_KUBECONFIG names the cluster to test on"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a cluster of our own needs root on Linux"
    return None


@dataclass(frozen=True)
class Programs:
    """Everything that is built before the clock of a start runs."""

    etcd: Path
    kubernetes: Path
    coredns: Path
    operators: tuple[PreparedOperator, ...]


def build_programs(operators: Sequence[Operator] = OPERATORS) -> Programs:
    """Install the packages, build the binaries, render the manifests and write the images; instant once cached."""
    install_packages()
    kubernetes_binaries = build(KUBERNETES)
    prepared = tuple(prepare(operator, kubernetes_binaries / "kubectl") for operator in operators)
    return Programs(build(ETCD), kubernetes_binaries, build(HELM_AND_COREDNS), prepared)


def up(name: str, *, detached: bool, operators: Sequence[Operator] = OPERATORS) -> Cluster:
    """Start a cluster and wait until its operators answer; it ends with this process unless `detached`.

    Raises:
        ClusterError: it couldn't be started; nothing of it but a copy of its logs is left then.
    """
    programs = build_programs(operators)
    box = sandbox.create(name, detached=detached)
    try:
        return Startup(box, programs).run()
    except BaseException as error:
        logs = cache_directory() / "failed-start"
        shutil.rmtree(logs, ignore_errors=True)
        shutil.copytree(box.directory / "log", logs)
        box.destroy()
        error.add_note(f"the logs are in {logs}")
        raise


def shared(name: str) -> Cluster:
    """The running cluster `name` of this machine."""
    box = sandbox.load(name)
    assert box is not None, f"there is no cluster {name}"
    return Cluster(box.directory / "kubeconfig", build(KUBERNETES) / "kubectl", box)


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
        self.reader = create_reader(server, self.authority, admin)
        kubeconfig = self.authority.write_kubeconfig(box.directory / "kubeconfig", server, admin)
        self.cluster = Cluster(kubeconfig, programs.kubernetes / "kubectl", box)

    def run(self) -> Cluster:
        """Start everything and wait until it serves."""
        node.create_bridge(self.box)
        self.start_control_plane()
        with ThreadPoolExecutor() as pool:
            images = pool.submit(self.load_images)
            self.wait("the API server", self.reader.is_ready, 60)
            self.start_controllers()
            self.apply(volumes.storage(self.box.directory / "volumes"))
            self.apply_operators()
            images.result()
        # Not sooner: what kubelet finds no image for, it tries again only seconds later.
        self.start_kubelet()
        self.wait("the node", partial(self.reader.condition, f"/api/v1/nodes/{NODE}", "Ready"), 60)
        self.wait("the operators", self.operators_are_available, 120)
        if self.programs.operators:
            self.wait("the webhooks", partial(self.succeeds, *APPLY, "--dry-run=server", "-f", str(PROBES)), 60)
        return self.cluster

    def start_control_plane(self) -> None:
        """Etcd, the API server, and containerd, which has images to load meanwhile."""
        etcd = control_plane.etcd(self.programs.etcd, self.box.directory / "etcd")
        server = control_plane.api_server(self.programs.kubernetes, self.authority, [f"IP:{self.address}"])
        self.box.spawn("etcd", etcd)
        self.box.spawn("containerd", node.containerd(self.box))
        self.box.spawn("kube-apiserver", server)

    def load_images(self) -> None:
        """The pause image, the tests' image and the operators' images."""
        socket = Path(f"/proc/{self.box.init}/root{node.CONTAINERD_SOCKET}")
        self.wait("containerd", socket.exists, 30)
        for number, image in enumerate(basic_images()):
            import_image(self.box, image.write(self.box.directory / f"image-{number}.tar"))
        for operator in self.programs.operators:
            import_image(self.box, operator.image)

    def start_controllers(self) -> None:
        """What watches the API server."""
        binaries = self.programs.kubernetes
        manager = self.kubeconfig("system:kube-controller-manager")
        self.box.spawn("kube-controller-manager", control_plane.controller_manager(binaries, self.authority, manager))
        self.box.spawn("kube-scheduler", control_plane.scheduler(binaries, self.kubeconfig("system:kube-scheduler")))
        self.box.spawn("kube-proxy", node.kube_proxy(binaries, self.kubeconfig("system:kube-proxy"), NODE))
        self.apply(dns.RBAC)
        corefile = dns.coredns(self.programs.coredns, self.box.directory, self.kubeconfig(dns.USER))
        self.box.spawn("coredns", corefile)

    def start_kubelet(self) -> None:
        """The node itself."""
        kubeconfig = self.kubeconfig(f"system:node:{NODE}", "system:nodes")
        kubelet = node.kubelet(self.programs.kubernetes, self.box, self.authority, kubeconfig, NODE)
        self.box.spawn("kubelet", kubelet)

    def apply(self, manifest: object) -> None:
        """Apply an object or a List."""
        self.cluster.kubectl(*APPLY, "-f", "-", manifest=manifest)

    def kubeconfig(self, user: str, group: str | None = None) -> Path:
        """The kubeconfig of a component inside."""
        pair = self.authority.issue(user, group)
        return self.authority.write_kubeconfig(pair.key.with_suffix(".kubeconfig"), INNER_SERVER, pair)

    def apply_operators(self) -> None:
        """Apply each operator's manifests."""
        for operator in self.programs.operators:
            for manifest in operator.manifests.values():
                # A resource can only be made a moment after its definition.
                self.wait(f"`kubectl apply -f {manifest}`", partial(self.succeeds, *APPLY, "-f", str(manifest)), 60)
            # The next one's webhook may stand in the way of this one's pods.
            self.wait(f"the pod of {operator.deployment}", partial(self.has_pod, operator.deployment), 60)

    def has_pod(self, deployment: str) -> bool:
        """Whether the pods of a Deployment have been made."""
        return bool(self.reader.status(deployment).get("replicas"))

    def operators_are_available(self) -> bool:
        """Whether all Deployments of the operators have a ready pod."""
        return all(self.reader.condition(operator.deployment, "Available") for operator in self.programs.operators)

    def succeeds(self, *arguments: str) -> bool:
        """Whether kubectl does."""
        return self.cluster.try_kubectl(*arguments).returncode == 0

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait, but not for something that has died."""

        def condition_while_all_live() -> bool:
            for name, process in self.box.processes.items():
                if process.poll() is not None:
                    tail = self.box.log(name).read_text(errors="replace")[-3000:]
                    raise ClusterError(f"{name} ended with {process.returncode}:\n{tail}")
            return condition()

        begin = time.monotonic()
        sandbox.wait_until(condition_while_all_live, what, seconds)
        with self.box.log("startup").open("a") as log:
            print(f"{time.monotonic() - begin:5.1f} s for {what}", file=log)
