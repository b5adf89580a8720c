"""What values say outweighs the recipe, and what can't be meant is refused."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.objects.pod import ARGUMENTS
from phi3k_trainer.recipe import Recipe, parse_recipe
from phi3k_trainer.recipe.ready import ready_recipe
from tests.chart.charting import CHART, Helm, container_of, job_of, values_of

RECIPE = """
apiVersion: phi3k/v1
name: own
model: {base: tiny}
data: {source: sample, answer: "Product: {title}"}
"""
HOSTILE = "{{ .Values }}\n---\nkind: ClusterRoleBinding # $(id) `id` '\" ${HOME} $(HOME)"


def in_force(rendered: list[Manifest]) -> Recipe:
    """The recipe as the trainer reads it: the text with the arguments on top, `$$` being Kubernetes' escape."""
    (text,) = (entry["data"]["recipe.yaml"] for entry in rendered if entry["kind"] == "ConfigMap")
    arguments = container_of(rendered)["args"]
    assert arguments[1::2] == ["--set"] * (len(arguments) // 2)
    return parse_recipe(text, overrides=[argument.replace("$$", "$") for argument in arguments[2::2]])


def test_defaults_alone_train_the_default_recipe_on_eight_gpus(helm: Helm) -> None:
    rendered = helm.template("my-run", "--set=gpus=8", "--api-versions=kubeflow.org/v1/PyTorchJob")
    assert container_of(rendered)["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert in_force(rendered).model == parse_recipe(ready_recipe("burberry-lora").read_text()).model
    assert job_of(rendered)["metadata"]["name"] == "my-run"


def test_the_run_is_called_like_the_release(helm: Helm) -> None:
    rendered = helm.template("my-run", values=values_of({"recipe": RECIPE}))
    assert in_force(rendered).name == "my-run"
    assert {entry["metadata"]["labels"].get("phi3k/run", "my-run") for entry in rendered} == {"my-run"}


def test_the_recipe_says_what_values_leave_open(helm: Helm) -> None:
    recipe = RECIPE + "cluster: {gpus: 2, resources: {cpu: '3', memory: 5Gi}, wandb_secret: null}\n"
    rendered = helm.template("own", "--set=resources.memory=9Gi", values=values_of({"recipe": recipe}))
    cluster = in_force(rendered).cluster
    assert (cluster.gpus, cluster.resources.cpu, cluster.resources.memory) == (2, "3", "9Gi")
    assert container_of(rendered)["resources"]["limits"]["memory"] == "9Gi"
    assert "WANDB_API_KEY" not in [entry["name"] for entry in container_of(rendered)["env"]]


@pytest.mark.parametrize(
    ("value", "field", "wanted"),
    [
        ({"gpus": 0}, "gpus", 0),
        ({"network_policy": False}, "network_policy", False),
        ({"retries": 0}, "retries", 0),
        ({"tolerations": []}, "tolerations", ()),
        ({"image_pull_secrets": ["a"]}, "image_pull_secrets", ("a",)),
        ({"wandb_secret": ""}, "wandb_secret", ""),
        ({"node_selector": {"b.example/c": "d"}}, "node_selector", {"zone": "1", "b.example/c": "d"}),
    ],
)
def test_values_outweigh_the_recipe_even_when_they_are_empty(
    helm: Helm, value: dict[str, object], field: str, wanted: object
) -> None:
    recipe = RECIPE + "cluster: {gpus: 1, retries: 5, tolerations: [{key: a}], node_selector: {zone: '1'}}\n"
    rendered = helm.template("own", values=values_of({"recipe": recipe, **value}))
    assert getattr(in_force(rendered).cluster, field) == wanted


def test_what_is_installed_is_the_recipe_in_force(helm: Helm) -> None:
    """`--set cluster.x` of phi3k and values of the chart come to the same, but for `env`, which stands in the pod."""
    values = {"gpus": 4, "env": {"A": HOSTILE}, "queue": "team", "runs": {"size": "1Gi"}, "deadline": "3h"}
    rendered = helm.template("own", values=values_of({"recipe": RECIPE, **values}))
    own = ["gpus=4", "queue=team", "runs.size=1Gi", "deadline=3h"]
    overrides = [*ARGUMENTS[2::2], *(f"cluster.{entry}" for entry in own)]
    assert in_force(rendered) == parse_recipe(RECIPE, overrides=overrides)
    assert {"name": "A", "value": HOSTILE.replace("$", "$$")} in container_of(rendered)["env"]
    assert [entry["kind"] for entry in rendered if HOSTILE.splitlines()[0] in texts_of(entry)] == ["Job"]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"gpu": 8}, "gpu"),
        ({"resources": {"gpu": 8}}, "gpu"),
        ({"tolerations": [{"keys": "a"}]}, "keys"),
        ({"namespace": "team-a"}, "namespace"),
        ({"gpus": "8"}, "/gpus"),
        ({"gpus": -1}, "/gpus"),
        ({"gpus": 1.5}, "/gpus"),
        ({"image": ["a"]}, "/image"),
        ({"image": {"repository": "a", "tag": "b"}}, "/image"),
        ({"kind": "deployment"}, "/kind"),
        ({"deadline": "soon"}, "/deadline"),
        ({"retries": 2147483648}, "/retries"),
        ({"gpu_resource": "gpus"}, "/gpu_resource"),
        ({"runs": {"access_modes": []}}, "/runs/access_modes"),
        ({"runs": {"access_modes": ["ReadOnlyMany"]}}, "/runs/access_modes"),
        ({"env": {"A": 1}}, "/env/A"),
        ({"node_selector": {"a": True}}, "/node_selector/a"),
        ({"wandb_run_id": "a/b"}, "/wandb_run_id"),
        ({"egress": [{"port": 70000}]}, "/egress/0/port"),
        ({"egress": [{"port": 1, "to": "minio"}]}, "/egress/0/to"),
        ({"pod": {"env_secrets": {"A": {"secret": "a"}}}}, "/pod/env_secrets/A"),
        ({"recipe": {"name": "own"}}, "/recipe"),
        ({"submitter": {"create": True, "subjects": [{"kind": "Robot", "name": "r"}]}}, "/submitter"),
    ],
)
def test_unknown_and_mistyped_values_are_refused_by_name(helm: Helm, values: dict[str, object], what: str) -> None:
    refusal = helm.refusal("own", values=values_of(values))
    assert "values don't meet the specifications of the schema" in refusal
    assert what in refusal


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ("{gpu: 8}", 'no field "gpu"'),
        ("{gpus: eight}", "cluster.gpus"),
        ("{gpus: 1.5}", "cluster.gpus"),
        ("{gpus: -1}", "cluster.gpus"),
        ("{kind: deployment}", "cluster.kind"),
        ("{deadline: soon}", "cluster.deadline"),
        ("{keep_finished: 24856d}", "at most 24855d"),
        ("{keep_finished: 99999999999999999999s}", "at most 24855d"),
        ("{retries: 2147483648}", "cluster.retries"),
        ("{resources: null}", "cluster.resources"),
        ("{resources: {cpu: 8}}", "cluster.resources.cpu"),
        ("{runs: {claim: ''}}", "cluster.runs.claim"),
        ("{runs: {access_modes: []}}", "cluster.runs.access_modes"),
        ("{tolerations: [{operator: Never}]}", "cluster.tolerations[0].operator"),
        ("{node_selector: {disk: on}}", "cluster.node_selector.disk"),
        ("[gpus]", "should be a section"),
        ("{namespace: Team}", "cluster.namespace"),
        ("{egress: [{port: 70000}]}", "cluster.egress[0].port"),
        ("{egress: [{to: a.b}]}", "cluster.egress[0].port is required"),
        ("{env: {A: x}}", "give it as the value env"),
    ],
)
def test_a_recipes_section_that_phi3k_refuses_is_refused(helm: Helm, section: str, what: str) -> None:
    """`disk: on` is text to phi3k and true to Helm's YAML 1.1: it has to be quoted here."""
    assert what in helm.refusal("own", values=values_of({"recipe": f"{RECIPE}cluster: {section}\n"}))


@pytest.mark.parametrize("text", ["- a list\n", "name: [\n", "just words", "name: a\n\tb: c\n", "{}"])
def test_a_text_that_is_no_recipe_is_refused(helm: Helm, text: str) -> None:
    assert "phi3k recipe check" in helm.refusal("own", values=values_of({"recipe": text}))


@pytest.mark.parametrize("name", ["2nd-run", "a.b", "a" * 41])
def test_a_release_whose_name_cannot_be_a_runs_is_refused(helm: Helm, name: str) -> None:
    assert "can't be a run's" in helm.refusal(name)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"gpus": 12}, "not a multiple of gpus_per_node"),
        ({"gpus": 8, "nodes": 3}, "can't share equally"),
        ({"gpus": 32, "nodes": 2}, "can't share equally"),
        ({"gpus": 2, "gpu_resource": "nvidia.com/mig-1g.10gb"}, "can't train on 2 of nvidia.com/mig-1g.10gb"),
        ({"gpus": 16, "runs": {"access_modes": ["ReadWriteOnce"]}}, "runs.access_modes"),
        ({"submitter": {"create": True}}, "names nobody"),
        ({"env": {"HF_TOKEN": "x"}}, "put it into a secret, and name that in hf_secret"),
        ({"env": {"PET_NNODES": "1"}}, "env can't set PET_NNODES"),
        ({"env": {"WANDB_BASE_URL": "https://x"}}, "name that in wandb_secret"),
        ({"hf_secret": "hub", "env": {"HF_ENDPOINT": "https://x"}}, "can't set HF_ENDPOINT together with hf_secret"),
        ({"env": {"A B": "1"}}, "can't be the name of a variable"),
        ({"env": {"AWS_SECRET_ACCESS_KEY": "x"}}, "pod.env_secrets.AWS_SECRET_ACCESS_KEY"),
        ({"env": {"HTTPS_PROXY": "http://user:word@proxy:3128"}}, "looks like a secret"),
        ({"env": {"A": "http://x:99999"}}, "between 1 and 65535"),
        ({"env": {"A": "x"}, "pod": {"env_secrets": {"A": {"secret": "a", "key": "b"}}}}, "both set A"),
        ({"pod": {"env_from": [{}]}}, "either a secret or a config_map"),
        ({"pod": {"env_from": [{"secret": "a", "config_map": "b"}]}}, "either a secret or a config_map"),
    ],
)
def test_what_phi3k_render_refuses_is_refused(helm: Helm, values: dict[str, object], what: str) -> None:
    assert what in helm.refusal("own", values=values_of(values))


def test_a_recipe_for_another_namespace_is_refused(helm: Helm) -> None:
    values = values_of({"recipe": f"{RECIPE}cluster: {{namespace: team-a}}\n"})
    assert "--namespace team-a" in helm.refusal("own", values=values)
    assert job_of(helm.template("own", "--namespace=team-a", values=values))["metadata"]["namespace"] == "team-a"


@pytest.mark.parametrize(
    "values",
    [
        {"image": HOSTILE},
        {"queue": HOSTILE},
        {"topology": HOSTILE},
        {"env": {"A": HOSTILE}},
        {"node_selector": {HOSTILE: HOSTILE}},
        {"tolerations": [{"key": HOSTILE, "value": HOSTILE}]},
        {"resources": dict.fromkeys(("cpu", "memory", "shared_memory", "ephemeral_storage"), HOSTILE)},
        {"runs": {"claim": HOSTILE, "size": HOSTILE, "storage_class": HOSTILE}},
        {"wandb_secret": HOSTILE, "hf_secret": HOSTILE},
        {"image_pull_secrets": [HOSTILE]},
        {"submitter": {"create": True, "subjects": [{"kind": "User", "name": HOSTILE}]}},
        {"recipe": f"{RECIPE}# {HOSTILE!r}\n"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_hostile_values_stay_text(helm: Helm, values: dict[str, object]) -> None:
    """The same objects as with harmless values, no more, and the hostile text whole where it was put."""
    harmless = json.loads(json.dumps(values).replace(json.dumps(HOSTILE)[1:-1], "harmless"))
    rendered, expected = (helm.template("own", values=values_of(given)) for given in (values, harmless))
    assert [entry["kind"] for entry in rendered] == [entry["kind"] for entry in expected]
    if "recipe" not in values:
        read = [text for entry in rendered for text in texts(entry)]
        assert HOSTILE in [*read, *(text.replace("$$", "$") for text in read)]


@pytest.mark.parametrize("character", ["\x7f", "\x85", "\ufeff"])
def test_what_yaml_would_change_is_refused(helm: Helm, character: str) -> None:
    assert "control character" in helm.refusal("own", values=json.dumps({"env": {"A": f"a{character}b"}}))


def texts_of(value: object) -> str:
    return "".join(texts(value))


def texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


@settings(max_examples=8, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), max_size=100))
def test_the_recipes_text_reaches_the_trainer_unchanged(helm: Helm, comment: str) -> None:
    """Line breaks that YAML knows besides LF can't stand in a recipe: they would end the comment."""
    text = f"{RECIPE}# {' '.join(comment.split())}\n  \n"
    rendered = helm.template("own", values=json.dumps({"recipe": text}, ensure_ascii=False))
    (config_map,) = (entry for entry in rendered if entry["kind"] == "ConfigMap")
    assert config_map["data"]["recipe.yaml"] == text


def test_submitters_get_the_smallest_role_only_when_asked(helm: Helm) -> None:
    assert not [entry for entry in helm.template("own") if "Role" in entry["kind"]]
    submitter = {
        "create": True,
        "subjects": [{"kind": "ServiceAccount", "name": "ci"}, {"kind": "Group", "name": "ml"}],
    }
    rendered = helm.template("own", "--namespace=team", values=values_of({"submitter": submitter}))
    role, binding = (next(entry for entry in rendered if entry["kind"] == kind) for kind in ("Role", "RoleBinding"))
    assert role["rules"] == yaml.safe_load((CHART / "files" / "submitter-rules.yaml").read_text())
    assert "secrets" not in [resource for rule in role["rules"] for resource in rule["resources"]]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "ci", "namespace": "team"},
        {"kind": "Group", "name": "ml", "apiGroup": "rbac.authorization.k8s.io"},
    ]
