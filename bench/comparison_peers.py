"""The ways to say one run, as files under bench/comparison that are run as their users run them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.conftest import new_namespace
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import STAND_IN_IMAGE

REPOSITORY = Path(__file__).parents[1]
FILES = Path(__file__).with_name("comparison")
RUN = "burberry-lora"
PODS = f"training.kubeflow.org/job-name={RUN}"
KINDS = {
    *("pytorchjobs", "trainjobs", "jobs", "persistentvolumeclaims", "configmaps", "secrets", "serviceaccounts"),
    *("services", "networkpolicies", "roles", "rolebindings"),
}
# Of every namespace, and of whoever prepared it.
STANDING = {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default", "Secret/wandb-api-key"}


@dataclass(frozen=True)
class Peer:
    """One way: its title in the tables, the file that is run, the files its user writes."""

    title: str
    program: str
    written: tuple[str, ...]


TRAIN = Peer("`TrainingClient.train`", "train.py", ("train.py",))
CREATE_JOB = Peer("`TrainingClient.create_job`", "create_job.py", ("create_job.py",))
KUBECTL = Peer("manifest, `kubectl apply`", "kubectl.sh", ("pytorchjob.yaml", "kubectl.sh"))
SUBMIT = Peer("`phi3k submit`", "submit.sh", ("submit.sh",))
HELM = Peer("`helm install`", "helm.sh", ("helm.sh",))
PEERS = (TRAIN, CREATE_JOB, KUBECTL, SUBMIT, HELM)


@dataclass(frozen=True)
class Place:
    """A namespace of the comparison's own, and the kubeconfig of a user whose context names it."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path

    def kubectl(self, *arguments: str, manifest: object | None = None) -> str:
        """Run kubectl as administrator in the namespace."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, manifest=manifest)

    def items(self, kinds: str, *arguments: str) -> list[Any]:
        """Objects as the API server shows them."""
        found: list[Any] = json.loads(self.kubectl("get", kinds, "--output=json", *arguments))["items"]
        return found

    def objects(self) -> dict[str, Any]:
        """What somebody made here, by `Kind/name`; the values change when the object does."""
        served = self.cluster.kubectl("api-resources", "--namespaced", "--output=name").splitlines()
        kinds = ",".join(KINDS & {name.partition(".")[0] for name in served})
        found = {f"{item['kind']}/{item['metadata']['name']}": item.get("spec") for item in self.items(kinds)}
        return {name: spec for name, spec in found.items() if name not in STANDING}

    def run(self, command: list[str], directory: Path = FILES) -> subprocess.CompletedProcess[str]:
        """Run a user's command in a directory; what it prints is on `stdout`, errors too."""
        tools = [Path(sys.executable).parent, self.cluster.kubectl_program.parent]
        path = os.pathsep.join([*map(str, tools), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}
        return subprocess.run(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=300,
        )  # fmt: skip


@contextmanager
def new_place(cluster: Cluster, directory: Path) -> Iterator[Place]:
    """A namespace for the block with the secret that the runs name."""
    with new_namespace(cluster) as name:
        place = Place(cluster, name, directory / f"{name}.kubeconfig")
        write_kubeconfig(place, None)
        place.kubectl("create", "secret", "generic", "wandb-api-key", "--from-literal=WANDB_API_KEY=none")
        yield place


def write_kubeconfig(place: Place, token: str | None) -> None:
    """Write the kubeconfig of the administrator, or of who has the token, with the namespace in its context."""
    content = yaml.safe_load(place.cluster.kubeconfig.read_text())
    content["contexts"][0]["context"]["namespace"] = place.namespace
    if token is not None:
        content["users"][0]["user"] = {"token": token}
    place.kubeconfig.write_text(yaml.safe_dump(content))


def say(place: Place, peer: Peer, directory: Path = FILES) -> subprocess.CompletedProcess[str]:
    """Say the run as the peer's file does."""
    return place.run([sys.executable if peer.program.endswith(".py") else "sh", peer.program], directory)


def changed_files(scratch: Path, name: str, old: str, new: str) -> Path:
    """A copy of the files in which one text of one file is another; returns their directory."""
    directory = scratch / "bench" / "comparison"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(FILES, directory, ignore=shutil.ignore_patterns("__pycache__"))
    (scratch / "charts").symlink_to(REPOSITORY / "charts")
    text = (directory / name).read_text()
    if old not in text:
        raise ValueError(f"{name} doesn't hold {old!r}")
    (directory / name).write_text(text.replace(old, new, 1))
    return directory


def objects_of(cluster: Cluster, peer: Peer, scratch: Path) -> list[Any]:
    """The claims and the PyTorchJob that a peer makes, as the API server has them."""
    with new_place(cluster, scratch) as place:
        said = say(place, peer)
        if said.returncode != 0:
            raise RuntimeError(f"{peer.title} ended with {said.returncode}:\n{said.stdout}")
        found = place.items("persistentvolumeclaims") + place.items("pytorchjobs")
    for item in found:
        item["metadata"] = {"name": item["metadata"]["name"]}
        item.pop("status", None)
        item["spec"].pop("volumeName", None)
    return found


def make_light(job: Any, script: str) -> None:
    """Give a PyTorchJob the stand-in for an image, with `script` for a trainer, and the least resources."""
    job["spec"]["runPolicy"].pop("suspend", None)
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        pod = replica["template"]["spec"]
        for container, text in [(entry, "true") for entry in pod.get("initContainers", [])] + [
            (pod["containers"][0], script)
        ]:
            for field in ("command", "args"):
                container.pop(field, None)
            container["image"] = STAND_IN_IMAGE
            container["env"] = [*container.get("env", []), {"name": "STAND_IN", "value": text}]
            container["resources"] = {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}
