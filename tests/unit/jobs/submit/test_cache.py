"""The process that fills, lists and frees the cache, on real directories and the demo's own data."""

import json
from pathlib import Path
from typing import Any

import pytest

from phi3k_jobs.submit.cache import cache_objects, list_arguments, remove_arguments, warm_arguments
from phi3k_trainer.data.cache import main
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a model of 3,000 bytes and 10 bytes of data."""
    model = tmp_path / "huggingface/hub/models--microsoft--Phi-3-vision-128k-instruct/blobs"
    model.mkdir(parents=True)
    (model / "a").write_bytes(bytes(3000))
    (model.parent / "snapshot").symlink_to(model / "a")
    (tmp_path / "phi3k/store").mkdir(parents=True)
    (tmp_path / "phi3k/store/b").write_bytes(bytes(10))
    return tmp_path


def last_line(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_entries_are_named_as_on_the_hub_and_the_largest_comes_first(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(cache)]) == 0
    names = [entry["name"] for entry in last_line(capsys)]
    assert names == ["model/microsoft/Phi-3-vision-128k-instruct", "data/store"]


def test_a_removed_entry_is_gone_and_the_rest_stays(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", str(cache), "model/microsoft/Phi-3-vision-128k-instruct"]) == 0
    assert last_line(capsys)["size_bytes"] >= 3000
    main(["list", str(cache)])
    assert [entry["name"] for entry in last_line(capsys)] == ["data/store"]


@pytest.mark.parametrize("name", ["model/none", "../secret", "data/..", ""])
def test_what_is_no_entry_is_refused_by_name(cache: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["remove", str(cache), name]) == 66
    assert "it has: model/microsoft/Phi-3-vision-128k-instruct, data/store" in capsys.readouterr().err
    assert (cache / "phi3k/store/b").exists()


def test_warming_prepares_the_recipes_data_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ready_recipe("demo"))
    arguments = ["warm", recipe, "--set", f"data.cache={tmp_path}/phi3k", "--set", "data.sample.rows=60"]
    assert main(arguments) == 0
    first = last_line(capsys)
    assert first["train"] + first["evaluation"] == 60
    assert first["model"] is None
    assert main(arguments) == 0
    assert last_line(capsys)["digest"] == first["digest"]
    assert {entry.name for entry in (tmp_path / "phi3k").iterdir()} >= {"prepared", "store"}


def test_a_model_that_is_not_there_fails_before_any_gpu_is_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [f"data.cache={tmp_path}/phi3k", "data.sample.rows=60", "model.base=/nowhere"]
    arguments = [argument for override in sets for argument in ("--set", override)]
    assert main(["warm", str(ready_recipe("demo")), *arguments]) == 66
    assert "/nowhere" in capsys.readouterr().err


PLACED = [
    "cluster.queue=team-a",
    "cluster.queue_priority=urgent",
    "cluster.priority_class=high",
    "cluster.node_selector.pool=cpu",
    "cluster.tolerations=[{key: dedicated}]",
    "cluster.topology=topology.kubernetes.io/rack",
    "cluster.image_pull_secrets=[registry]",
    "cluster.resources.ephemeral_storage=7Gi",
    "cluster.hf_secret=hub",
    "cluster.pod={env_from: [{secret: store}], env_secrets: {STORE_KEY: {secret: store, key: key}}}",
]
VERBS = [warm_arguments(), list_arguments(), remove_arguments("model/a/b")]


def objects_of(arguments: list[str], *overrides: str) -> dict[str, dict[str, Any]]:
    rendered = cache_objects(load_recipe(ready_recipe("burberry-lora"), [*PLACED, *overrides]), arguments)
    assert rendered[-1]["kind"] == "Job"
    return {entry["kind"]: entry for entry in rendered}


def pod_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return dict(objects["Job"]["spec"]["template"]["spec"])


def test_the_job_asks_for_no_gpu_and_has_the_recipes_place_and_storage() -> None:
    pod = pod_of(objects_of(warm_arguments()))
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    assert pod["priorityClassName"] == "high"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert "affinity" not in pod
    resources = pod["containers"][0]["resources"]
    assert set(resources["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert resources["requests"]["ephemeral-storage"] == resources["limits"]["ephemeral-storage"] == "7Gi"
    assert pod["volumes"][-1] == {"name": "scratch", "emptyDir": {"sizeLimit": "7Gi"}}


def test_the_job_waits_in_the_recipes_queue() -> None:
    own = objects_of(warm_arguments())["Job"]["metadata"]["labels"]
    assert own["kueue.x-k8s.io/queue-name"] == "team-a"
    assert own["kueue.x-k8s.io/priority-class"] == "urgent"
    assert own["app.kubernetes.io/component"] == "cache"


@pytest.mark.parametrize(
    ("arguments", "secrets"), list(zip(VERBS, [["STORE_KEY", "HF_TOKEN", "HF_ENDPOINT"], [], []], strict=True))
)
def test_each_verb_has_the_secrets_that_it_needs(arguments: list[str], secrets: list[str]) -> None:
    (container,) = pod_of(objects_of(arguments))["containers"]
    assert [entry["name"] for entry in container["env"] if "valueFrom" in entry] == secrets
    assert ("envFrom" in container) == bool(secrets)


@pytest.mark.parametrize("arguments", VERBS)
def test_the_pod_runs_as_an_account_of_its_own_without_a_token(arguments: list[str]) -> None:
    objects = objects_of(arguments)
    name, pod = objects["Job"]["metadata"]["name"], pod_of(objects)
    assert objects["ServiceAccount"]["metadata"]["name"] == pod["serviceAccountName"] == name
    assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is False
    assert objects["ConfigMap"]["metadata"]["name"] == name


@pytest.mark.parametrize("arguments", VERBS)
def test_the_networks_policy_picks_the_verbs_pod(arguments: list[str]) -> None:
    objects = objects_of(arguments)
    picked = objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert picked.items() <= objects["Job"]["spec"]["template"]["metadata"]["labels"].items()
    assert "NetworkPolicy" not in objects_of(arguments, "cluster.network_policy=false")
