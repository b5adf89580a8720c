"""The objects of the short pod: a copy of the program, a claim that it can only read, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from phi3k_jobs.submit.cache import cache_objects, list_arguments
from phi3k_jobs.transfer import program
from phi3k_jobs.transfer.visit import directory_of, transfer_objects
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

SETTINGS = [
    "name=catalogue",
    "cluster.runs.claim=team-runs",
    "cluster.queue=team-a",
    "cluster.node_selector={pool: cpu}",
    "cluster.tolerations=[{key: dedicated, operator: Exists}]",
    "cluster.image_pull_secrets=[registry]",
    "cluster.env={STAGE: test}",
    "cluster.pod.env_secrets={STORE_KEY: {secret: store, key: key}}",
    "cluster.pod.env_from=[{secret: everything}]",
    "cluster.pod.host_network=true",
    "cluster.hf_secret=hub",
    "cluster.wandb_secret=wandb",
]


def objects_of(*more: str) -> dict[str, dict[str, Any]]:
    recipe = load_recipe(ready_recipe("demo"), [*SETTINGS, *more])
    return {
        entry["kind"]: entry
        for entry in transfer_objects(recipe, "catalogue", directory_of(recipe, "catalogue"), ["keep", "120"])
    }


def pod_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return dict(objects["Job"]["spec"]["template"]["spec"])


def test_the_pod_sees_the_runs_and_can_not_write_to_them() -> None:
    pod = pod_of(objects_of())
    (container,) = pod["containers"]
    assert {"name": "claim", "mountPath": "/runs", "readOnly": True} in container["volumeMounts"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if len(volume) > 1 and "persistentVolumeClaim" in volume
    ]
    assert claims == ["team-runs"]


def test_the_pod_runs_the_program_of_this_version_whatever_its_image_holds() -> None:
    objects = objects_of()
    (container,) = pod_of(objects)["containers"]
    assert container["command"] == ["/opt/phi3k/bin/python", "-I", "/etc/phi3k/transfer.py"]
    text = Path(program.__file__).read_text(encoding="utf-8")
    assert objects["ConfigMap"]["data"] == {"transfer.py": text}


def test_the_pod_has_no_secret_and_no_variable_of_the_recipe() -> None:
    (container,) = pod_of(objects_of())["containers"]
    assert not [entry for entry in container["env"] if "valueFrom" in entry or entry["name"] == "STAGE"]
    assert "envFrom" not in container


def test_nothing_reaches_the_pod_by_network_and_it_reaches_nothing() -> None:
    objects = objects_of()
    spec = objects["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert "egress" not in spec
    picked = spec["podSelector"]["matchLabels"]
    assert picked.items() <= objects["Job"]["spec"]["template"]["metadata"]["labels"].items()
    assert "hostNetwork" not in pod_of(objects)
    assert "NetworkPolicy" not in objects_of("cluster.network_policy=false")


def test_the_pod_is_placed_and_guarded_as_that_of_the_cache_is() -> None:
    recipe = load_recipe(ready_recipe("demo"), SETTINGS)
    (job,) = (entry for entry in cache_objects(recipe, list_arguments()) if entry["kind"] == "Job")
    cache, pod = job["spec"]["template"]["spec"], pod_of(objects_of())
    for field in ("nodeSelector", "tolerations", "imagePullSecrets", "securityContext", "restartPolicy"):
        assert pod[field] == cache[field]
    assert pod["containers"][0]["securityContext"] == cache["containers"][0]["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    labels = objects_of()["Job"]["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team-a"


def test_two_pods_of_one_run_have_names_of_their_own() -> None:
    names = {objects_of()["Job"]["metadata"]["name"] for _ in range(10)}
    assert len(names) == 10
    assert all(name.startswith("catalogue-transfer-") for name in names)


@pytest.mark.parametrize(("modes", "is_near"), [("[ReadWriteOnce]", True), ("[ReadWriteMany]", False)])
def test_a_claim_of_one_node_is_visited_on_the_node_of_its_run(modes: str, is_near: bool) -> None:
    pod = pod_of(objects_of(f"cluster.runs.access_modes={modes}", "cluster.nodes=1"))
    assert ("podAffinity" in pod.get("affinity", {})) == is_near


def test_a_job_that_nobody_removes_goes_by_itself() -> None:
    assert objects_of()["Job"]["spec"]["ttlSecondsAfterFinished"] == 60
