"""The chart makes the objects that `phi3k render` prints."""

import re
from itertools import product
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k.main import main
from phi3k_jobs.helm_values import helm_values
from phi3k_jobs.objects.around import web_ports
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.render import objects
from phi3k_trainer.contract import KindName
from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import Recipe, load_recipe, parse_recipe
from phi3k_trainer.recipe.environment import problems
from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes
from tests.chart.charting import Helm, job_of, values_of

KINDS: tuple[KindName, ...] = get_args(KindName)
KINDS_AND_AUTO = (*KINDS, "auto")

# Every field of the section differs from its default, and what is left out of an entry has one.
EVERYTHING = """
apiVersion: phi3k/v1
name: everything
model: {base: tiny}
data: {source: sample, answer: "Product: {title}"}
cluster:
  kind: pytorchjob
  namespace: team-a
  image: registry.example/phi3k@sha256:0123
  image_pull_policy: Always
  image_pull_secrets: [pull, "another"]
  gpus: 12
  gpus_per_node: 4
  nodes: 6
  gpu_resource: amd.com/gpu
  queue: team-a
  queue_priority: urgent
  priority_class: high
  node_selector: {"example.com/pool": "on", zone: "1"}
  tolerations: [{key: gpu, effect: NoSchedule}, {operator: Equal, key: a, value: "", toleration_seconds: 0}, {}]
  topology: topology.kubernetes.io/zone
  resources: {cpu: "16", memory: 128Gi, shared_memory: 1Gi, ephemeral_storage: 7Gi, cpu_limit: "24"}
  cache: {claim: models, size: 1Ti, storage_class: "", access_modes: [ReadWriteMany, ReadWriteOnce]}
  runs: {claim: results, size: 2Ti, storage_class: fast, access_modes: [ReadWriteMany]}
  wandb_secret: tracker
  hf_secret: hub
  deadline: 12h
  retries: 0
  keep_finished: 30m
  grace: 90s
  network_policy: false
  egress: [{port: 9000, to: minio.tools}, {port: 5353, protocol: UDP, to: 10.0.0.10}, {port: 15012}]
  disruption_budget: true
  pod_monitor: true
  log_format: json
  env: {Z_LAST: "1e3", HOME: /tmp/home, A_FIRST: "yes"}
  pod:
    env_from: [{secret: store}, {config_map: team}]
    env_secrets: {AWS_SECRET_ACCESS_KEY: {secret: keys, key: aws.key}, TMPDIR: {secret: keys, key: place}}
    labels: {team: vision, sidecar.istio.io/inject: "true"}
    annotations: {k8s.v1.cni.cncf.io/networks: rdma, "note": "a: b"}
    service_account: with-identity
    scheduler: kai-scheduler
    runtime_class: nvidia
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [
      {key: kubernetes.io/hostname, operator: NotIn, values: [bad-node]}]}]}}}
    host_network: true
    volumes:
      - {name: catalogue, path: /data/catalogue, source: {persistentVolumeClaim: {claimName: catalogue}}}
      - {name: nas, path: /nas, source: {nfs: {server: nas.example, path: /export}}, read_only: false, sub_path: team}
    extra_resources: {rdma/hca: "1", hugepages-2Mi: 4Gi}
    resource_claims: [{name: gpu, template: eight-gpus}, {name: nic, claim: shared-nic}]
    capabilities: [IPC_LOCK]
    user: 1000
    group: null
    fs_group: null
    supplemental_groups: [2000, 3000]
  overlay:
    metadata: {annotations: {note: null, by-overlay: "yes"}}
    spec:
      hostNetwork: null
      hostAliases: [{ip: 10.0.0.1, hostnames: [hub]}]
      tolerations: [{key: only, operator: Exists}]
      volumes: [{name: nas, $patch: delete}, {name: more, emptyDir: {}}]
      containers:
        - name: trainer
          tty: true
          volumeMounts: [{mountPath: /nas, $patch: delete}]
          env: [{name: MORE, value: "1"}]
          resources: {limits: {rdma/hca: null}}
        - {name: sidecar, image: registry.example/sidecar}
"""


def without_what_is_helms(rendered: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """The objects by kind and name, without the two marks that only Helm reads.

    helm.sh/chart tells which version of the chart made an object; helm.sh/resource-policy keeps claims on uninstall.
    """
    for entry in rendered:
        metadata = entry["metadata"]
        assert metadata["labels"].pop("helm.sh/chart").startswith("phi3k-")
        if entry["kind"] == "PersistentVolumeClaim":
            assert metadata.pop("annotations") == {"helm.sh/resource-policy": "keep"}
    return by_name(rendered)


def by_name(rendered: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    named = {(entry["kind"], entry["metadata"]["name"]): entry for entry in rendered}
    assert len(named) == len(rendered)
    return named


def assert_equal_objects(helm: Helm, recipe: Recipe, *arguments: str) -> None:
    namespace = f"--namespace={recipe.cluster.namespace or 'default'}"
    rendered = helm.template(recipe.name, namespace, *arguments, values=helm_values(recipe))
    assert without_what_is_helms(rendered) == by_name(objects(recipe))


@pytest.mark.parametrize(("name", "kind"), list(product(ready_recipes(), KINDS_AND_AUTO)))
def test_every_ready_recipe_renders_as_phi3k_render_does(helm: Helm, name: str, kind: str) -> None:
    assert_equal_objects(helm, load_recipe(ready_recipe(name), [f"cluster.kind={kind}"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_that_sets_every_field_does_too(helm: Helm, kind: KindName) -> None:
    recipe = parse_recipe(EVERYTHING, overrides=[f"cluster.kind={kind}"])
    unset = Recipe.model_fields["cluster"].default
    for section, default in ((recipe.cluster, unset), (recipe.cluster.pod, unset.pod)):
        same = [name for name in type(default).model_fields if getattr(section, name) == getattr(default, name)]
        assert same == [], "EVERYTHING should set these too"
    assert_equal_objects(helm, recipe)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("overlay", "place"),
    [
        ({"spec": {"containers": [{"name": "trainer", "command": ["sh"]}]}}, "spec.containers[trainer].command"),
        ({"spec": {"containers": [{"name": "trainer", "$patch": "delete"}]}}, "spec.containers[trainer].args"),
        ({"spec": {"volumes": [{"name": "runs", "emptyDir": {}}]}}, "spec.volumes[runs]"),
        ({"metadata": {"labels": {"phi3k/run": "other"}}}, "metadata.labels.phi3k/run"),
        ({"spec": {"restartPolicy": "Always"}}, "spec.restartPolicy"),
        (
            {"spec": {"containers": [{"name": "trainer", "env": [{"name": "PET_NNODES", "value": "9"}]}]}},
            "spec.containers[trainer].env[PET_NNODES]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_recipe_and_chart_refuse_an_overlay_that_breaks_what_the_trainer_relies_on(
    helm: Helm, kind: KindName, overlay: Manifest, place: str
) -> None:
    recipe = load_recipe(ready_recipe("demo"), [f"cluster.kind={kind}"])
    recipe = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"overlay": overlay})})
    with pytest.raises(RecipeError, match=re.escape(place)):
        objects(recipe)
    assert place in helm.refusal("demo", values=values_of({"kind": kind, "overlay": overlay}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", ["null", "24855d"])
def test_a_finished_job_is_kept_for_ever_or_as_long_as_kubernetes_counts(helm: Helm, kind: KindName, kept: str) -> None:
    overrides = [f"cluster.kind={kind}", f"cluster.keep_finished={kept}"]
    assert_equal_objects(helm, load_recipe(ready_recipe("demo"), overrides))


def test_helm_sends_a_trainjobs_runtime_before_the_trainjob(helm: Helm) -> None:
    kinds = [entry["kind"] for entry in helm.template("demo", "--set=kind=trainjob")]
    assert kinds.index("TrainingRuntime") < kinds.index("TrainJob")


def test_the_addresses_that_the_recipe_names_can_be_reached(helm: Helm) -> None:
    addresses = {
        "HTTPS_PROXY": "proxy.example:3128",
        "HTTP_PROXY": "HTTP://proxy.example:3129",
        "ALL_PROXY": "socks5h://proxy.example",
        "NO_PROXY": "api.example:6443",
        "HF_ENDPOINT": "https://[::1]:8443/hub",
        "SAME": "http://other.example:8080",
        "S3": "minio.example:9000",
        "TWO": "http://a:1, http://b:2",
        "PLAIN": "https://[2001:db8::1]/",
        "NOTE": "see http://example:99 or",
    }
    server = "tracking.wandb.base_url=http://wandb.team-a.svc:8080"
    recipe = parse_recipe(EVERYTHING, overrides=[server, "cluster.network_policy=true"])
    changed = {"env": addresses, "hf_secret": None}
    recipe = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update=changed)})
    assert web_ports(recipe) == [443, 80, 8080, 1080, 8443, 3128, 3129, 9000, 1, 2]
    assert_equal_objects(helm, recipe)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wandb_run_is_named_everywhere(helm: Helm, kind: KindName) -> None:
    recipe = load_recipe(ready_recipe("demo"), [f"cluster.kind={kind}"])
    rendered = helm.template("demo", "--set=wandb_run_id=abc123", values=helm_values(recipe))
    assert without_what_is_helms(rendered) == by_name(objects(recipe, wandb_run_id="abc123"))


@pytest.mark.parametrize("name", ready_recipes())
def test_a_recipe_as_people_write_it_places_the_run_like_the_recipe_in_force(helm: Helm, name: str) -> None:
    """Only the recipe's text differs, and with it its hash."""
    recipe = load_recipe(ready_recipe(name), ["cluster.kind=job"])
    written = helm.template(name, "--set=kind=job", f"--set-file=recipe={ready_recipe(name)}")
    in_force = helm.template(name, values=helm_values(recipe))
    assert container_without_arguments(written) == container_without_arguments(in_force)


def container_without_arguments(rendered: list[Manifest]) -> Manifest:
    spec = job_of(rendered)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    container.pop("args")
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != "recipe"]
    return dict(spec)


# The chart refuses control characters: YAML would change them.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff")
TEXT = st.text(CHARACTERS, min_size=1, max_size=60)
VARIABLE = st.from_regex(r"\A[A-Z][A-Z0-9_.-]{0,20}\Z").filter(lambda name: not list(problems({name: "x"})))


@settings(max_examples=8, deadline=None)
@given(st.dictionaries(VARIABLE, TEXT, max_size=4), TEXT, TEXT, st.integers(0, 64))
def test_whatever_the_texts_hold_the_objects_are_equal(
    helm: Helm, env: dict[str, str], image: str, prompt: str, gpus: int
) -> None:
    recipe = parse_recipe(EVERYTHING, overrides=["cluster.network_policy=true"])
    cluster = recipe.cluster.model_copy(
        update={"env": env, "image": image, "gpus": gpus, "gpus_per_node": 64, "nodes": None, "topology": image}
    )
    data = recipe.data.model_copy(update={"prompt": prompt})
    assert_equal_objects(helm, recipe.model_copy(update={"cluster": cluster, "data": data}))


# Each of these values is a secret, an address or innocent in a way of its own.
VALUES = st.sampled_from(
    [
        *("1", "on", "/path", "x", "http://a:1", "http://a:b@c", "a:b@c:1", "a.b:99999", "a.b:9", "socks5://a"),
        *("http://a:0", "hf_" + "a" * 10, "http://a@b", "password=x", "-----BEGIN X-----", "http://a:1,b"),
        *("http://a:1,http://b:70000", "", "http://a:1/ "),
    ]
)
WORDS = st.sampled_from(["KEY", "TOKEN", "PUBLIC", "FILE", "PASS", "SECRET", "PROXY", "HTTPS", "NO", "A", "ID", "WORD"])


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=3).map("_".join), VALUES)
def test_the_chart_refuses_the_variables_that_a_recipe_refuses(helm: Helm, name: str, value: str) -> None:
    given = values_of({"env": {name: value}})
    if list(problems({name: value})):
        assert name in helm.refusal("own", values=given)
    else:
        helm.template("own", values=given)


def test_the_command_prints_the_values(helm: Helm, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["burberry-lora", "--gpus", "16", "--kind", "job", "--name", "own"]
    assert main(["render", *options, "--output", "helm-values"]) == 0
    rendered = helm.template("own", values=capsys.readouterr().out)
    assert main(["render", *options]) == 0
    assert without_what_is_helms(rendered) == by_name(list(yaml.safe_load_all(capsys.readouterr().out)))


def test_the_command_refuses_what_the_chart_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "demo", "--gpus", "12", "--output", "helm-values"]) == RecipeError.exit_code
    assert "ask for 8 or 16" in capsys.readouterr().err


def test_auto_takes_what_the_cluster_has(helm: Helm) -> None:
    def kind(*served: str) -> str:
        return str(job_of(helm.template("demo", *(f"--api-versions={entry}" for entry in served)))["kind"])

    pytorchjob, trainjob = "kubeflow.org/v1/PyTorchJob", "trainer.kubeflow.org/v1alpha1/TrainJob"
    jobset = "jobset.x-k8s.io/v1alpha2/JobSet"
    assert kind(jobset, pytorchjob, trainjob) == "PyTorchJob"
    assert kind(jobset, trainjob) == "TrainJob"
    assert kind(jobset) == kind(jobset, "batch/v1/Job") == kind() == "Job"


@pytest.mark.parametrize(
    ("kind", "served"),
    [
        ("pytorchjob", ["kubeflow.org/v1/PyTorchJob", "trainer.kubeflow.org/v1alpha1/TrainJob"]),
        ("trainjob", ["trainer.kubeflow.org/v1alpha1/TrainJob"]),
        ("job", []),
    ],
)
def test_the_objects_of_auto_are_those_of_the_kind_that_the_cluster_has(
    helm: Helm, kind: KindName, served: list[str]
) -> None:
    recipe = load_recipe(ready_recipe("burberry-lora"), ["cluster.kind=auto", "cluster.gpus=16"])
    rendered = helm.template(recipe.name, *(f"--api-versions={entry}" for entry in served), values=helm_values(recipe))
    assert without_what_is_helms(rendered) == by_name(objects(recipe, kind=kind))


def test_one_claim_for_cache_and_runs_is_made_once(helm: Helm) -> None:
    recipe = load_recipe(
        ready_recipe("demo"), ["cluster.cache.claim=one", "cluster.runs.claim=one", "cluster.kind=job"]
    )
    assert_equal_objects(helm, recipe)


def test_claims_of_others_are_not_made(helm: Helm) -> None:
    rendered = helm.template("demo", values=values_of({"cache": {"create": False}, "runs": {"create": False}}))
    assert not [entry for entry in rendered if entry["kind"] == "PersistentVolumeClaim"]
