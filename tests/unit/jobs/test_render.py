"""From a recipe to the objects of its run."""

import json
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
import yaml
from kubeflow.training.api_client import ApiClient
from kubeflow.training.models import KubeflowOrgV1PyTorchJob

from phi3k_jobs.kinds import KINDS
from phi3k_jobs.render import objects, to_json, to_yaml
from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import Recipe, load_recipe, parse_recipe
from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes

MINIMAL = """
apiVersion: phi3k/v1
name: demo
model: {base: tiny}
data: {source: sample, answer: "Product: {title}"}
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(MINIMAL, overrides=overrides)


def last(rendered: list[dict]) -> dict:
    return rendered[-1]


def pods(rendered: list[dict]) -> dict:
    """The job's pod template, wherever its kind keeps it."""
    kind = next(kind for kind in KINDS.values() if kind.job.kind == last(rendered)["kind"])
    holder = kind.runtime or kind.job
    return next(kind.pods(entry) for entry in rendered if entry["kind"] == holder.kind)


def jobs_spec(rendered: list[dict]) -> dict:
    """The spec of a Job, or of the one that a JobSet or a TrainJob's runtime describes."""
    job = last(rendered)
    if job["kind"] == "Job":
        return job["spec"]
    runtimes = [entry["spec"]["template"] for entry in rendered if entry["kind"] == "TrainingRuntime"]
    (workers,) = (runtimes or [job])[0]["spec"]["replicatedJobs"]
    return workers["template"]["spec"]


class FakeResponse:
    """What the client's deserialiser reads: a body."""

    def __init__(self, data: object) -> None:
        self.data = json.dumps(data)


@pytest.mark.parametrize("name", ready_recipes())
def test_every_pytorchjob_survives_kubeflows_typed_models(name: str) -> None:
    rendered = last(objects(load_recipe(ready_recipe(name)), kind="pytorchjob", wandb_run_id="abc123"))
    client = ApiClient()
    typed = client.deserialize(FakeResponse(rendered), KubeflowOrgV1PyTorchJob)
    assert client.sanitize_for_serialization(typed) == rendered


@pytest.mark.parametrize(("name", "kind"), list(product(ready_recipes(), KINDS)))
def test_rendering_twice_gives_the_same_bytes_and_yaml_says_what_json_says(name: str, kind: str) -> None:
    loaded = load_recipe(ready_recipe(name))
    first = objects(loaded, kind=kind)
    assert to_yaml(first) == to_yaml(objects(loaded, kind=kind))
    assert list(yaml.safe_load_all(to_yaml(first))) == json.loads(to_json(first))["items"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_map_holds_a_recipe_that_loads_to_the_same_recipe(kind: str) -> None:
    wanted = recipe()
    (config_map,) = [entry for entry in objects(wanted, kind=kind) if entry["kind"] == "ConfigMap"]
    assert config_map["immutable"] is True
    assert parse_recipe(config_map["data"]["recipe.yaml"]) == wanted


def test_another_recipe_has_another_config_map() -> None:
    def name(*overrides: str) -> str:
        return next(entry for entry in objects(recipe(*overrides)) if entry["kind"] == "ConfigMap")["metadata"]["name"]

    assert name() == name()
    assert name() != name("training.seed=1")


def test_one_node_is_a_master_and_several_are_elastic_workers() -> None:
    one = last(objects(recipe("cluster.gpus=8"), kind="pytorchjob"))["spec"]
    assert set(one["pytorchReplicaSpecs"]) == {"Master"}
    assert "elasticPolicy" not in one
    two = last(objects(recipe("cluster.gpus=16"), kind="pytorchjob"))["spec"]
    assert two["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2
    assert two["elasticPolicy"]["minReplicas"] == two["elasticPolicy"]["maxReplicas"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_gpus_are_asked_for_by_the_clusters_own_name_for_them(kind: str) -> None:
    rendered = objects(recipe("cluster.gpus=4", "cluster.gpu_resource=amd.com/gpu"), kind=kind)
    (container,) = pods(rendered)["spec"]["containers"]
    assert container["resources"]["limits"]["amd.com/gpu"] == "4"
    assert container["resources"]["requests"]["amd.com/gpu"] == "4"


def test_no_gpus_train_on_the_cpu_with_one_process() -> None:
    rendered = objects(recipe("cluster.gpus=0"), kind="pytorchjob")
    assert last(rendered)["spec"]["nprocPerNode"] == "1"
    assert not [name for name in pods(rendered)["spec"]["containers"][0]["resources"]["limits"] if "gpu" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_pods_meet_the_restricted_policy(kind: str) -> None:
    spec = pods(objects(recipe(), kind=kind))["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_in_the_environment_lies_on_a_volume(kind: str) -> None:
    (container,) = pods(objects(recipe(), kind=kind))["spec"]["containers"]
    mounted = tuple(mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly"))
    paths = [entry["value"] for entry in container["env"] if entry.get("value", "").startswith("/")]
    assert len(paths) >= 12
    assert [path for path in paths if not path.startswith(mounted)] == []


def test_secrets_are_named_and_never_read() -> None:
    text = to_yaml(objects(recipe("cluster.hf_secret=hub")))
    (container,) = pods(objects(recipe("cluster.hf_secret=hub")))["spec"]["containers"]
    references = {entry["name"]: entry["valueFrom"] for entry in container["env"] if "valueFrom" in entry}
    assert references["WANDB_API_KEY"]["secretKeyRef"]["name"] == "wandb-api-key"
    assert references["HF_TOKEN"]["secretKeyRef"] == {"name": "hub", "key": "HF_TOKEN"}
    assert "kind: Secret" not in text


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("WANDB_API_KEY", r"secret.*cluster\.wandb_secret"),
        ("WANDB_BASE_URL", r"secret.*cluster\.wandb_secret"),
        ("PHI3K_PLAIN_HTTP", "sets it itself"),
        ("HF_TOKEN", r"secret.*cluster\.hf_secret"),
        ("WANDB_RUN_ID", "sets it itself"),
        ("PET_NNODES", "sets it itself"),
        ("PHI3K_IMAGE", "sets it itself"),
    ],
)
def test_a_variable_that_has_to_be_phi3ks_own_is_refused(name: str, what: str) -> None:
    with pytest.raises(RecipeError, match=f"cluster.env:? can't set {name}.*{what}"):
        objects(recipe(f"cluster.env={{{name}: x}}"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_of_the_recipe_replaces_a_default_and_stands_once(kind: str) -> None:
    (container,) = pods(objects(recipe("cluster.env={HOME: /runs/home}"), kind=kind))["spec"]["containers"]
    assert [entry for entry in container["env"] if entry["name"] == "HOME"] == [{"name": "HOME", "value": "/runs/home"}]
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))


def test_several_nodes_refuse_a_claim_that_one_node_holds() -> None:
    with pytest.raises(RecipeError, match=r"cluster\.runs.*ReadWriteOnce"):
        objects(recipe("cluster.gpus=16", "cluster.runs.access_modes=[ReadWriteOnce]"))


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (("cluster.gpus=12",), "ask for 8 or 16"),
        (("cluster.gpus=8", "cluster.nodes=3"), "can't share equally"),
        (("cluster.gpus=32", "cluster.nodes=2"), "can't share equally"),
        (("cluster.gpus=2", "cluster.gpu_resource=nvidia.com/mig-1g.10gb"), r"2 of nvidia\.com/mig-1g\.10gb"),
        (("cluster.gpus=4", "cluster.gpu_resource=nvidia.com/gpu.shared"), "may be the same GPU"),
    ],
)
def test_gpus_that_the_replicas_can_t_have_are_refused(overrides: tuple[str, ...], what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        objects(recipe(*overrides))


def test_the_operator_gets_its_time_out_before_the_pod_is_killed() -> None:
    (container,) = pods(objects(recipe("cluster.grace=10m")))["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < 600


@pytest.mark.parametrize("kind", ["trainjob", "job", "jobset"])
def test_permanent_errors_fail_a_job_at_once_and_evictions_cost_no_retry(kind: str) -> None:
    wanted = recipe("cluster.gpus=16", "cluster.retries=2")
    workers = jobs_spec(objects(wanted, kind=kind))
    evicted, permanent = workers["podFailurePolicy"]["rules"]
    assert evicted["action"] == "Ignore"
    assert permanent["action"] == "FailJob"
    assert permanent["onExitCodes"]["values"] == list(range(64, 79))
    assert permanent["onExitCodes"]["containerName"] == workers["template"]["spec"]["containers"][0]["name"]
    assert workers["backoffLimit"] == 2 * 2


def test_a_trainjob_has_a_runtime_of_its_own_that_others_come_between() -> None:
    *_, runtime, config_map, policy, job = objects(recipe("cluster.gpus=16"), kind="trainjob")
    assert (runtime["kind"], runtime["metadata"]["name"]) == ("TrainingRuntime", "demo")
    assert (config_map["kind"], policy["kind"]) == ("ConfigMap", "NetworkPolicy")
    assert (job["spec"]["runtimeRef"]["kind"], job["spec"]["runtimeRef"]["name"]) == ("TrainingRuntime", "demo")
    assert job["spec"]["trainer"] == {"numNodes": 2, "numProcPerNode": 8}


@pytest.mark.parametrize("kind", ["job", "jobset"])
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_has_one_index_a_node(kind: str, nodes: int) -> None:
    spec = jobs_spec(objects(recipe(f"cluster.gpus={8 * nodes}"), kind=kind))
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", nodes, nodes)


def test_the_replicas_of_a_jobset_meet_at_the_address_that_its_operator_makes() -> None:
    """A pod's host is <JobSet>-<entry>-<Job's index>-<pod's index>, in the JobSet's subdomain."""
    rendered = objects(recipe("cluster.gpus=16"), kind="jobset")
    spec = last(rendered)["spec"]
    (workers,) = spec["replicatedJobs"]
    assert spec["network"] == {"enableDNSHostnames": True, "subdomain": "demo"}
    assert workers["replicas"] == 1
    (container,) = pods(rendered)["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["PET_MASTER_ADDR"] == f"demo-{workers['name']}-0-0.demo"
    assert environment["PET_NNODES"] == "2"
    assert KINDS["jobset"].made_job_of("demo") == f"demo-{workers['name']}-0"


def test_a_jobset_fails_with_its_job() -> None:
    """A policy of its own would make all pods again, and take the logs of those that failed."""
    assert "failurePolicy" not in last(objects(recipe("cluster.retries=2"), kind="jobset"))["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_priority_class_is_on_the_pods(kind: str) -> None:
    assert pods(objects(recipe("cluster.priority_class=high"), kind=kind))["spec"]["priorityClassName"] == "high"


def test_a_queue_is_kueues_label_on_the_job() -> None:
    for kind in KINDS:
        labels = last(objects(recipe("cluster.queue=team", "cluster.queue_priority=urgent"), kind=kind))["metadata"][
            "labels"
        ]
        assert labels["kueue.x-k8s.io/queue-name"] == "team"
        assert labels["kueue.x-k8s.io/priority-class"] == "urgent"


def test_a_priority_in_no_queue_says_nothing_to_kueue() -> None:
    labels = last(objects(recipe("cluster.queue_priority=urgent")))["metadata"]["labels"]
    assert not [label for label in labels if label.startswith("kueue")]


@pytest.mark.parametrize(
    "override",
    [
        "tracking.wandb.base_url=http://wandb.team-a.svc:8080",
        "cluster.env={HF_ENDPOINT: 'http://hub.team-a.svc:8080/'}",
        "cluster.env={HTTPS_PROXY: 'proxy.example:8080'}",
    ],
)
def test_the_network_policy_lets_out_to_the_servers_the_recipe_names(override: str) -> None:
    def ports(*overrides: str) -> list[int]:
        (policy,) = (entry for entry in objects(recipe(*overrides)) if entry["kind"] == "NetworkPolicy")
        return [entry["port"] for rule in policy["spec"]["egress"] for entry in rule.get("ports", [])]

    assert ports() == [53, 53, 443, 80]
    assert ports(override) == [53, 53, 443, 80, 8080]


def egress(*overrides: str) -> list[dict]:
    (policy,) = (entry for entry in objects(recipe(*overrides)) if entry["kind"] == "NetworkPolicy")
    return policy["spec"]["egress"]


def test_the_web_is_everywhere_but_where_a_cloud_gives_machines_their_credentials() -> None:
    _peers, _dns, web = egress()
    pods, *blocks = web["to"]
    assert pods == {"namespaceSelector": {}}
    for address in ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "fe80::1"):
        assert not any(lets_out(entry["ipBlock"], address) for entry in blocks), address
    for address in ("198.51.100.1", "10.0.0.1", "2001:db8::1"):
        assert any(lets_out(entry["ipBlock"], address) for entry in blocks), address


def lets_out(block: dict, address: str) -> bool:
    wanted = ip_address(address)
    return wanted in ip_network(block["cidr"]) and not any(wanted in ip_network(part) for part in block["except"])


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("{port: 15012}", {"ports": [{"protocol": "TCP", "port": 15012}]}),
        (
            "{port: 5353, protocol: UDP, to: 10.0.0.10}",
            {"ports": [{"protocol": "UDP", "port": 5353}], "to": [{"ipBlock": {"cidr": "10.0.0.10/32"}}]},
        ),
        (
            "{port: 988, to: 169.254.169.252/32}",
            {"ports": [{"protocol": "TCP", "port": 988}], "to": [{"ipBlock": {"cidr": "169.254.169.252/32"}}]},
        ),
        (
            "{port: 9000, to: 'fd00::1'}",
            {"ports": [{"protocol": "TCP", "port": 9000}], "to": [{"ipBlock": {"cidr": "fd00::1/128"}}]},
        ),
        (
            "{port: 9000, to: minio.tools}",
            {
                "ports": [{"protocol": "TCP", "port": 9000}],
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tools"}}}],
            },
        ),
    ],
)
def test_other_ways_out_are_named_in_the_recipe(entry: str, rule: dict) -> None:
    assert egress(f"cluster.egress=[{entry}]")[-1] == rule


@pytest.mark.parametrize(
    "entry",
    [
        "{port: 0}",
        "{port: 65536}",
        "{port: 1, to: 10.0.0.0/99}",
        "{port: 1, to: 1.2}",
        "{port: 1, to: minio}",
        "{port: 1, to: minio.example.com}",
        "{to: minio.tools}",
    ],
)
def test_a_way_out_that_cannot_be_is_refused(entry: str) -> None:
    with pytest.raises(RecipeError, match=r"cluster\.egress\[0\]"):
        recipe(f"cluster.egress=[{entry}]")


@pytest.mark.parametrize("kind", KINDS)
def test_secrets_reach_the_trainer_by_reference(kind: str) -> None:
    wanted = recipe(
        "cluster.pod.env_from=[{secret: store}, {config_map: team}]",
        "cluster.pod.env_secrets.AWS_SECRET_ACCESS_KEY={secret: keys, key: aws}",
        "cluster.pod.env_secrets.HOME={secret: keys, key: home}",
    )
    (container,) = pods(objects(wanted, kind=kind))["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "store"}}, {"configMapRef": {"name": "team"}}]
    found = [entry for entry in container["env"] if entry["name"] in ("AWS_SECRET_ACCESS_KEY", "HOME")]
    assert found == [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "keys", "key": key}}}
        for name, key in (("AWS_SECRET_ACCESS_KEY", "aws"), ("HOME", "home"))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_variables_value_stands_in_the_pod_alone(kind: str) -> None:
    rendered = objects(recipe("cluster.env.WHERE=only-here"), kind=kind)
    where = [entry["kind"] for entry in rendered if "only-here" in json.dumps(entry)]
    assert where == [(KINDS[kind].runtime or KINDS[kind].job).kind]
    (container,) = pods(rendered)["spec"]["containers"]
    assert {"name": "WHERE", "value": "only-here"} in container["env"]
    assert "only-here" not in json.dumps([part for name, part in container.items() if name != "env"])


def test_who_holds_a_key_says_where_it_may_go() -> None:
    (container,) = pods(objects(recipe("cluster.wandb_secret=tracker", "cluster.hf_secret=hub")))["spec"]["containers"]
    referred = {entry["name"]: entry.get("valueFrom", {}).get("secretKeyRef") for entry in container["env"]}
    assert referred["WANDB_BASE_URL"] == {"name": "tracker", "key": "WANDB_BASE_URL", "optional": True}
    assert referred["HF_ENDPOINT"] == {"name": "hub", "key": "HF_ENDPOINT", "optional": True}
    with pytest.raises(RecipeError, match="can't set HF_ENDPOINT together with hf_secret"):
        recipe("cluster.hf_secret=hub", "cluster.env.HF_ENDPOINT=https://hub.example")


def test_another_variable_makes_another_run() -> None:
    def identity(*overrides: str) -> tuple[str, str]:
        rendered = objects(recipe(*overrides))
        (config_map,) = [entry["metadata"]["name"] for entry in rendered if entry["kind"] == "ConfigMap"]
        return config_map, last(rendered)["metadata"]["annotations"]["phi3k/recipe-sha256"]

    first, other = identity("cluster.env.A=x"), identity("cluster.env.A=y")
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_without_a_cluster_to_ask_auto_is_what_every_cluster_has() -> None:
    assert last(objects(recipe("cluster.kind=auto")))["kind"] == "Job"


@pytest.mark.parametrize("text", ["1e3", "y", "N", "on", "0o7", "1_000", ".5e1", "~", "", "0x1F", "null"])
def test_text_that_a_reader_of_yaml_may_take_for_something_else_is_quoted(text: str) -> None:
    assert to_yaml([{"value": text}]) in (f"---\nvalue: '{text}'\n", f'---\nvalue: "{text}"\n')


def test_text_that_looks_like_yaml_or_a_template_stays_text() -> None:
    hostile = "{{ .Values.secret }}\n---\nkind: ClusterRoleBinding\n$(id) `id` '\""
    wanted = recipe(f"data.prompt={json.dumps(hostile)}")
    documents = list(yaml.safe_load_all(to_yaml(objects(wanted))))
    assert [entry["kind"] for entry in documents] == [entry["kind"] for entry in objects(recipe())]
    (config_map,) = [entry for entry in documents if entry["kind"] == "ConfigMap"]
    assert parse_recipe(config_map["data"]["recipe.yaml"]).data.prompt == hostile


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_name_fits_into_every_label_and_object(kind: str) -> None:
    rendered = objects(recipe("name=" + "n" * 40), kind=kind)
    names = [entry["metadata"]["name"] for entry in rendered]
    labels = [value for entry in rendered for value in entry["metadata"]["labels"].values()]
    assert max(map(len, names + labels)) <= 63


def test_a_finished_job_is_kept_until_it_is_cancelled_where_no_time_is_set() -> None:
    kept = recipe("cluster.keep_finished=null")
    an_hour = recipe("cluster.keep_finished=1h")
    for kind in ("job", "jobset"):
        assert "ttlSecondsAfterFinished" not in objects(kept, kind=kind)[-1]["spec"]
        assert objects(an_hour, kind=kind)[-1]["spec"]["ttlSecondsAfterFinished"] == 3600
    assert "ttlSecondsAfterFinished" not in objects(kept, kind="pytorchjob")[-1]["spec"]["runPolicy"]
