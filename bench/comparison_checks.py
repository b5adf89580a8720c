"""What each way notices before anything is made, and what it leaves where it is refused half-way."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comparison_peers import (
    CREATE_JOB,
    HELM,
    KUBECTL,
    PEERS,
    RUN,
    SUBMIT,
    TRAIN,
    Peer,
    Place,
    changed_files,
    new_place,
    say,
    write_kubeconfig,
)
from tools.cluster.cluster import Cluster
from tools.cluster.stand_in import STAND_IN_IMAGE

Change = tuple[str, str, str]


def added(submit: str, helm: str) -> dict[Peer, Change]:
    """Arguments after phi3k's and Helm's command lines."""
    return {
        SUBMIT: ("submit.sh", "--gpus 8", f"--gpus 8 {submit}"),
        HELM: ("helm.sh", "--set gpus=8", f"--set gpus=8 {helm}"),
    }


@dataclass(frozen=True)
class Mistake:
    """Something wrong: in the files (a peer that can't make it has no entry), or on the cluster."""

    title: str
    changes: Mapping[Peer, Change] = field(default_factory=dict)
    arrange: Callable[[Place], None] | None = None


def give_quota(place: Place) -> None:
    hard = {"requests.nvidia.com/gpu": "4"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}}
    place.kubectl("create", "-f", "-", manifest=quota)
    counted = "--for=jsonpath={.status.hard.requests\\.nvidia\\.com/gpu}=4"
    place.kubectl("wait", "resourcequota/team", counted, "--timeout=30s")


def forbid_jobs(place: Place) -> None:
    """Make the user one who may do everything in the namespace but create PyTorchJobs."""
    groups = ["", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "trainer.kubeflow.org"]
    rules = [
        {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["kubeflow.org"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch", "delete"]},
    ]
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "user"}, "rules": rules}
    place.kubectl("create", "-f", "-", manifest=role)
    place.kubectl("create", "serviceaccount", "user")
    place.kubectl("create", "rolebinding", "user", "--role=user", f"--serviceaccount={place.namespace}:user")
    write_kubeconfig(place, place.kubectl("create", "token", "user").strip())


def take_name(place: Place) -> None:
    """Somebody else's job of the same name."""
    container = {"name": "pytorch", "image": STAND_IN_IMAGE, "env": [{"name": "STAND_IN", "value": "sleep 600"}]}
    replica = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": RUN},
        "spec": {"pytorchReplicaSpecs": {"Master": replica}},
    }
    place.kubectl("create", "-f", "-", manifest=job)


IMAGE, WRONG_IMAGE = "ghcr.io/phi3k/phi3k:0.1.0", "ghcr.io/phi3k/phi3k:none"
FIRST_IMPORT = "from kubeflow.storage_initializer"
MISTAKES = (
    Mistake(
        "an image that isn't there",
        {
            TRAIN: (
                "train.py",
                FIRST_IMPORT,
                f"import os\nos.environ['TRAINER_TRANSFORMER_IMAGE'] = '{WRONG_IMAGE}'\n" + FIRST_IMPORT,
            ),
            CREATE_JOB: ("create_job.py", IMAGE, WRONG_IMAGE),
            KUBECTL: ("pytorchjob.yaml", IMAGE, WRONG_IMAGE),
            **added(f"--set cluster.image={WRONG_IMAGE}", f"--set image={WRONG_IMAGE}"),
        },
    ),
    Mistake(
        "a secret that isn't there",
        {
            CREATE_JOB: ("create_job.py", 'name="wandb-api-key"', 'name="hub"'),
            KUBECTL: ("pytorchjob.yaml", "name: wandb-api-key", "name: hub"),
            **added("--set cluster.hf_secret=hub", "--set hf_secret=hub"),
        },
    ),
    Mistake(
        "more GPUs than any node has",
        {
            TRAIN: ("train.py", '"gpu": 8', '"gpu": 16'),
            CREATE_JOB: ("create_job.py", '"gpu": 8', '"gpu": 16'),
            KUBECTL: ("pytorchjob.yaml", "nvidia.com/gpu: 8", "nvidia.com/gpu: 16"),
            **added("--gpus 16 --set cluster.gpus_per_node=16", "--set gpus=16 --set gpus_per_node=16"),
        },
    ),
    Mistake("more GPUs than the quota", arrange=give_quota),
    Mistake(
        "a typo in a field of the job",
        {
            TRAIN: ("train.py", "resources_per_worker", "resource_per_worker"),
            CREATE_JOB: ("create_job.py", "resources_per_worker", "resource_per_worker"),
            KUBECTL: ("pytorchjob.yaml", "restartPolicy:", "restartPolicies:"),
            **added("--set cluster.retrys=3", "--set retrys=3"),
        },
    ),
    Mistake(
        "a typo in a GPU resource's name",
        {
            TRAIN: ("train.py", '"gpu": 8', '"gpus": 8'),
            CREATE_JOB: ("create_job.py", '"gpu": 8', '"gpus": 8'),
            KUBECTL: ("pytorchjob.yaml", "nvidia.com/gpu: 8", "gpus: 8"),
            **added("--set cluster.gpu_resource=gpus", "--set gpu_resource=gpus"),
        },
    ),
    Mistake(
        "a typo in a training setting",
        {
            TRAIN: ("train.py", "learning_rate=", "learning_rat="),
            CREATE_JOB: ("create_job.py", '"checkpoint.directory', '"checkpoint.directry'),
            KUBECTL: ("pytorchjob.yaml", "training.learning_rate", "training.learning_rat"),
            SUBMIT: ("submit.sh", "--gpus 8", "--gpus 8 --set training.learning_rat=2e-4"),
            HELM: (
                "helm.sh",
                "helm install",
                "sed 's/learning_rate/learning_rat/' ../../charts/phi3k/files/recipe.yaml > typo.yaml\n"
                "helm install --set-file recipe=typo.yaml",
            ),
        },
    ),
    Mistake(
        "a claim that isn't there",
        {
            CREATE_JOB: ("create_job.py", 'claim_name="phi3k-runs"', 'claim_name="runs"'),
            KUBECTL: ("pytorchjob.yaml", "claimName: phi3k-runs", "claimName: runs"),
            **added("--set cluster.runs.create=false", "--set runs.create=false"),
        },
    ),
    Mistake("the user may not create the job", arrange=forbid_jobs),
    Mistake("somebody's job has the name", arrange=take_name),
)
NO_CRD = Mistake("the cluster has no PyTorchJob")


def outcome(cluster: Cluster, peer: Peer, mistake: Mistake, scratch: Path) -> str:
    """Make the mistake; return what became of it, as the table says it."""
    if mistake.changes and peer not in mistake.changes:
        return "—"
    with new_place(cluster, scratch) as place:
        if mistake.arrange:
            mistake.arrange(place)
        before = place.objects()
        files = {}
        if mistake.changes:
            files["directory"] = changed_files(scratch / "changed", *mistake.changes[peer])
        said = say(place, peer, **files)
        after = place.objects()
    made = sorted(name for name in after if name not in before)
    altered = [name for name in before if after.get(name) != before[name]]
    last = next((line.strip() for line in reversed(said.stdout.splitlines()) if line.strip()), "")
    print(
        json.dumps([mistake.title, peer.program, said.returncode, made, altered, last[:200]]),
        file=sys.stderr,
        flush=True,
    )
    if altered:
        return "**changes that job**"
    if said.returncode == 0:
        return "accepted, as a TrainJob" if any(name.startswith("TrainJob/") for name in made) else "accepted"
    return f"refused, leaves {summary(made)}" if made else "refused"


def summary(made: list[str]) -> str:
    """Count objects by kind."""
    words = {"PersistentVolumeClaim": "claim", "Secret": "release"}
    kinds = [words.get(name.partition("/")[0], name.partition("/")[0]) for name in made]
    return ", ".join(
        f"{kinds.count(kind)} {kind}s" if kinds.count(kind) > 1 else f"a {kind}" for kind in dict.fromkeys(kinds)
    )


def check_rows(cluster: Cluster, scratch: Path, wanted: str) -> Iterator[list[str]]:
    """One row a mistake: its title, then what becomes of it with each peer."""
    for mistake in (mistake for mistake in MISTAKES if wanted in mistake.title):
        yield [mistake.title, *(outcome(cluster, peer, mistake, scratch) for peer in PEERS)]
    if wanted not in NO_CRD.title:
        return
    with without_pytorchjobs(cluster):
        yield [NO_CRD.title, *(outcome(cluster, peer, NO_CRD, scratch) for peer in PEERS)]


@contextmanager
def without_pytorchjobs(cluster: Cluster) -> Iterator[None]:
    """Take the operator's resource definition away for the block; its jobs go with it."""
    name = "customresourcedefinition/pytorchjobs.kubeflow.org"
    definition = json.loads(cluster.kubectl("get", name, "--output=json"))
    definition["metadata"] = {
        key: definition["metadata"][key] for key in ("name", "annotations", "labels") if key in definition["metadata"]
    }
    definition.pop("status", None)
    cluster.kubectl("delete", name)
    try:
        yield
    finally:
        cluster.kubectl("create", "-f", "-", manifest=definition)
