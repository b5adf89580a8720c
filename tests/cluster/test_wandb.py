"""Curves, tables, pictures and configuration of the product's pods reach a W&B-compatible server in the cluster."""

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from tools.cluster.cluster import Cluster

from phi3k_trainer.tracking.wandb_run import TABLE_PICTURE_PIXELS
from tests.wandb_server import KEY, WandbServer

from .command import Command, Result
from .conftest import new_namespace
from .test_product_image import CONTAINER, POD

# The image has gigabytes, and loading it may count as part of the first test.
pytestmark = pytest.mark.timeout(1800)

LOCK = Path(__file__).parents[2] / "requirements.lock"
PORT = 8080
STEPS = 30
EVALUATED = 15
DELETED_FROM = 4
TABLE_ROWS = 2
RUN = "tracked"
PROJECT = "on-cluster"
# Its packages come through standard input: no volume of the host's, no registry.
SERVE = f"""\
import sys, tarfile
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall("/data/packages")
sys.path.append("/data/packages")
from openwandb.cli import main
main(["serve", "--port", "{PORT}", "--data-dir", "/data"])
"""


def packages_of(name: str, known: set[str]) -> set[str]:
    """The distribution and what it needs, by canonical name, besides those `known`."""
    found: set[str] = {canonicalize_name(name)}
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and canonicalize_name(requirement.name) not in known | found:
            found |= packages_of(requirement.name, known | found)
    return found


def packed(names: set[str]) -> bytes:
    """The installed files of distributions as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in sorted(names):
            for file in distribution(name).files or []:
                if ".." not in file.parts and file.suffix != ".pyc":
                    tar.add(file.locate(), arcname=str(file))
    return archive.getvalue()


def server_objects(image: str) -> list[dict[str, Any]]:
    """The server's pod, which is no different from the trainer's in what it may do, and its Service."""
    container = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", SERVE],
        "stdin": True,
        "stdinOnce": True,
        "securityContext": CONTAINER,
        "env": [{"name": "HOME", "value": "/data"}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/login", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wandb", "labels": {"app": "wandb"}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": POD,
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "wandb"},
        "spec": {"selector": {"app": "wandb"}, "ports": [{"port": PORT}]},
    }
    return [pod, service]


@contextmanager
def forwarded(cluster: Cluster, namespace: str, service: str) -> Iterator[str]:
    """The address of a Service as this machine reaches it, through the API server, for the block."""
    command = [str(cluster.kubectl_program), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}"]
    command += ["port-forward", f"service/{service}", f":{PORT}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.match(r"Forwarding from (127\.0\.0\.1:\d+) ", process.stdout.readline())
        assert found is not None
        yield f"http://{found[1]}"
        process.terminate()


@pytest.fixture(scope="module")
def server(cluster: Cluster, product_image: str) -> Iterator[tuple[str, WandbServer]]:
    """Openwandb in a namespace of its own: its address in the cluster, and as this machine reads it."""
    known = {line.partition("==")[0] for line in LOCK.read_text().splitlines() if "==" in line}
    archive = packed(packages_of("openwandb", known))
    with new_namespace(cluster) as name:
        objects = {"apiVersion": "v1", "kind": "List", "items": server_objects(product_image)}
        here = f"--namespace={name}"
        cluster.kubectl("create", "-f", "-", here, manifest=objects)
        cluster.kubectl("wait", "pod/wandb", "--for=jsonpath={.status.phase}=Running", "--timeout=120s", here)
        attach = [
            str(cluster.kubectl_program),
            f"--kubeconfig={cluster.kubeconfig}",
            "attach",
            "--stdin",
            "wandb",
            here,
        ]
        with subprocess.Popen(attach, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            process.stdin.write(archive)
            process.stdin.close()
            cluster.kubectl("wait", "pod/wandb", "--for=condition=Ready", "--timeout=120s", here)
            with forwarded(cluster, name, "wandb") as url:
                yield f"http://wandb.{name}.svc:{PORT}", WandbServer(url)
            process.terminate()


@dataclass(frozen=True)
class Tracked:
    """A run that was tracked by the server in the cluster, and lost its pod on the way."""

    server: WandbServer
    address: str
    submitted: dict[str, Any]
    steps_before: int
    log: str

    @property
    def run_id(self) -> str:
        """The run's id at W&B, as submit minted it."""
        return str(self.submitted["wandb_run_id"])

    def stored(self, words: str, ending: str) -> list[bytes]:
        """The content of the run's files whose name has these words and this ending."""
        names = [name for name in self.server.files(self.run_id) if words in name and name.endswith(ending)]
        path = f"/files/default/{PROJECT}/{self.run_id}"
        return [self.server.request(f"{path}/{name}").content for name in sorted(names)]


def options(address: str, image: str) -> list[str]:
    """What makes the demo's recipe a run of a minute that tells the server at `address` all about it."""
    overrides = (
        "data.sample.rows=60",
        "data.eval_fraction=0.2",
        "training.epochs=100",
        f"training.max_steps={STEPS}",
        f"evaluation.every_steps={EVALUATED}",
        "evaluation.max_samples=4",
        "evaluation.max_new_tokens=4",
        f"evaluation.table_samples={TABLE_ROWS}",
        f"tracking.wandb.base_url={address}",
        f"tracking.wandb.project={PROJECT}",
        f"cluster.image={image}",
        "cluster.gpus=0",
        # A line for each step.
        "cluster.log_format=json",
        "cluster.resources={cpu: 100m, memory: 4Gi, shared_memory: 64Mi, ephemeral_storage: 1Gi}",
    )
    return [option for override in overrides for option in ("--set", override)]


def succeeded(result: Result) -> Result:
    """The result, which must be a success."""
    assert result.code == 0, result.err
    return result


@pytest.fixture(scope="module")
def tracked(cluster: Cluster, server: tuple[str, WandbServer], product_image: str) -> Iterator[Tracked]:
    """The run, done: its pod is deleted once the server has heard of some steps, and made again."""
    address, wandb = server
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        here = f"--namespace={name}"
        literals = (f"--from-literal=WANDB_API_KEY={KEY}", f"--from-literal=WANDB_BASE_URL={address}")
        cluster.kubectl("create", "secret", "generic", "wandb-api-key", *literals, here)
        phi3k = Command(cluster, name, str(cluster.kubeconfig))
        submit = ("submit", "demo", "--name", RUN, "--kind", "pytorchjob", "--output", "json")
        submitted = succeeded(phi3k(*submit, *options(address, product_image))).json
        run_id = submitted["wandb_run_id"]
        phi3k.status_when(RUN, lambda status: (status["progress"] or {"step": 0})["step"] >= DELETED_FROM, 240)
        cluster.kubectl("delete", "pod", f"{RUN}-master-0", here)
        before = len(steps_told(wandb, run_id))
        succeeded(phi3k("wait", RUN))
        yield Tracked(wandb, address, submitted, before, phi3k("logs", RUN).out)


def steps_told(server: WandbServer, run_id: str) -> list[float]:
    """The steps whose loss the server knows."""
    return [step for step, _ in server.curve(run_id, "train/loss")] if run_id in server.run_ids(PROJECT) else []


def test_submit_says_where_the_run_will_be_seen(tracked: Tracked) -> None:
    assert tracked.submitted["wandb"] == f"{tracked.address}/<entity>/{PROJECT}/runs/{tracked.run_id}"
    assert f"W&B is online, because {tracked.address} knows the key" in tracked.log


def test_a_run_whose_pod_was_deleted_goes_on_as_the_same_run_and_tells_no_step_twice(tracked: Tracked) -> None:
    assert DELETED_FROM <= tracked.steps_before < STEPS, "the pod was deleted on its way"
    resumed = re.search(r"continuing from \S+/step-(\d+)", tracked.log)
    assert resumed is not None
    assert int(resumed[1]) == tracked.steps_before
    assert tracked.server.run_ids(PROJECT) == [tracked.run_id]
    assert steps_told(tracked.server, tracked.run_id) == list(range(1, STEPS + 1))


def test_the_evaluation_has_its_curve(tracked: Tracked) -> None:
    curve = tracked.server.curve(tracked.run_id, "eval/loss")
    assert [step for step, _ in curve] == [EVALUATED, STEPS]


def test_the_recipe_in_force_and_the_image_are_its_configuration(tracked: Tracked, product_image: str) -> None:
    config = tracked.server.config(tracked.run_id)
    assert config["recipe"]["training"]["max_steps"] == STEPS
    assert config["recipe"]["tracking"]["wandb"]["base_url"] == tracked.address
    assert config["environment"]["image"] == product_image


def test_the_answers_to_fixed_rows_are_a_table(tracked: Tracked) -> None:
    tables = [json.loads(content) for content in tracked.stored("eval/predictions", ".table.json")]
    rows = [row for table in tables for row in table["data"]]
    assert tables[0]["columns"] == ["step", "key", "picture", "prompt", "target", "answer"]
    assert sorted(row[0] for row in rows) == [EVALUATED] * TABLE_ROWS + [STEPS] * TABLE_ROWS
    assert len({row[1] for row in rows}) == TABLE_ROWS, "the same rows each time"
    assert all(row[4].startswith("Product: ") for row in rows)


def test_their_pictures_are_shown(tracked: Tracked) -> None:
    pictures = [Image.open(io.BytesIO(content)) for content in tracked.stored("eval/pictures", ".png")]
    assert len(pictures) == 2 * TABLE_ROWS
    assert all(max(picture.size) == TABLE_PICTURE_PIXELS for picture in pictures)
