"""Partial recipes under a recipe: the last writer of each value wins, and every mistake names its file and line."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import Layer, Origins, Recipe, parse_recipe, recipe_sha256, trace_recipe

SMALL = """\
apiVersion: phi3k/v1
name: small
model: {base: tiny}
data: {source: sample, answer: "{title}"}
"""


def traced(*defaults: str, recipe: str = SMALL, overrides: tuple[str, ...] = ()) -> tuple[Recipe, Origins]:
    """The recipe over files called 1.yaml, 2.yaml and so on."""
    layers = [Layer(f"{number}.yaml", text) for number, text in enumerate(defaults, 1)]
    return trace_recipe(Layer("own.yaml", recipe), overrides=overrides, defaults=layers)


def refusal(*defaults: str, recipe: str = SMALL) -> str:
    with pytest.raises(RecipeError) as caught:
        traced(*defaults, recipe=recipe)
    assert caught.value.exit_code == 78
    return str(caught.value)


words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "model.num_crops": st.integers(1, 16),
    "training.seed": st.integers(0, 1000),
    "training.learning_rate": st.floats(1e-6, 1e-2),
    "tracking.wandb.entity": st.none() | words,
    "cluster.image": words,
    "cluster.queue": st.none() | words,
    "cluster.cache.storage_class": st.none() | words,
    "cluster.resources.memory": words,
    "cluster.image_pull_secrets": st.lists(words, max_size=2),
    "cluster.node_selector.pool": words,
    "cluster.node_selector.zone": words,
    "cluster.pod.env_secrets.A.secret": words,
    "cluster.pod.env_secrets.A.key": words,
    "cluster.overlay.spec.hostname": st.none() | words,
    "cluster.overlay.spec.dnsConfig.searches": st.lists(words, max_size=2),
}
parts = st.fixed_dictionaries({}, optional=LEAVES)


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in leaves.items():
        *sections, field = name.split(".")
        inside = document
        for section in sections:
            inside = inside.setdefault(section, {})
        inside[field] = value
    return document


def at(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values


@given(st.lists(parts, max_size=3), parts, parts)
@settings(max_examples=60, deadline=None)
def test_of_each_value_the_last_writer_wins(
    defaults: list[dict[str, Any]], recipe: dict[str, Any], options: dict[str, Any]
) -> None:
    in_force: dict[str, tuple[Any, str]] = {}
    for number, part in enumerate(defaults, 1):
        in_force |= {name: (value, f"{number}.yaml") for name, value in part.items()}
    in_force |= {name: (value, "own.yaml") for name, value in recipe.items()}
    in_force |= {name: (value, "--set") for name, value in options.items() if name.count(".") < 3}
    halves = {name.removesuffix(".key").removesuffix(".secret") for name in in_force if ".env_secrets." in name}
    for half in halves:  # a reference to a Secret has two parts
        for part_name in (f"{half}.secret", f"{half}.key"):
            recipe.setdefault(part_name, "x")
            in_force[part_name] = (recipe[part_name], "own.yaml")

    overrides = [f"{name}={json.dumps(value)}" for name, value in options.items() if name.count(".") < 3]
    written = yaml.safe_load(SMALL)
    for section, fields in nested(recipe).items():
        written[section] = {**written.get(section, {}), **fields}
    found, origins = traced(
        *(yaml.safe_dump(nested(part)) for part in defaults),
        recipe=yaml.safe_dump(written),
        overrides=tuple(overrides),
    )

    values = found.model_dump(mode="json")
    built_in = parse_recipe(SMALL).model_dump(mode="json")
    for name in LEAVES:
        path = tuple(name.split("."))
        if name in in_force:
            value, writer = in_force[name]
            assert at(values, name) == value
            assert origins.of(path).startswith(writer)
        else:
            assert origins.of(path) == "built in"
    for name in [name for name in LEAVES if name not in in_force and name.count(".") < 3 and "selector" not in name]:
        assert at(values, name) == at(built_in, name)


def test_mappings_are_merged_by_key_and_lists_replace() -> None:
    recipe, _ = traced(
        "cluster: {node_selector: {pool: a, zone: b}, tolerations: [{key: x}, {key: y}]}",
        "cluster: {node_selector: {pool: c}, tolerations: [{key: z}]}",
    )
    assert recipe.cluster.node_selector == {"pool": "c", "zone": "b"}
    assert [each.key for each in recipe.cluster.tolerations] == ["z"]


def test_null_takes_out_a_mapping_an_entry_or_a_value_of_the_defaults() -> None:
    defaults = "cluster: {image: mine, node_selector: {pool: a, zone: b}, pod: {labels: {team: x}}}"
    recipe, origins = traced(
        defaults, recipe=SMALL + "cluster: {image: null, node_selector: {pool: null}, pod: {labels: null}}"
    )
    assert recipe.cluster.image == parse_recipe(SMALL).cluster.image
    assert recipe.cluster.node_selector == {"zone": "b"}
    assert recipe.cluster.pod.labels == {}
    assert origins.of(("cluster", "image")) == "built in"


def test_null_is_a_value_where_a_field_may_be_null() -> None:
    recipe, origins = traced("cluster: {wandb_secret: ours}", recipe=SMALL + "cluster:\n  wandb_secret: null\n")
    assert recipe.cluster.wandb_secret is None
    assert origins.of(("cluster", "wandb_secret")) == "own.yaml:6"


def test_an_override_replaces_a_mapping_of_the_defaults_as_a_whole() -> None:
    recipe, _ = traced("cluster: {node_selector: {pool: a}}", overrides=("cluster.node_selector={zone: b}",))
    assert recipe.cluster.node_selector == {"zone": "b"}


def test_the_digest_is_that_of_the_recipe_in_force() -> None:
    recipe, _ = traced("training: {seed: 4}")
    assert recipe_sha256(recipe) == recipe_sha256(parse_recipe(SMALL + "training: {seed: 4}"))


def test_a_file_of_comments_changes_nothing() -> None:
    assert traced("# nothing yet\n", "")[0] == parse_recipe(SMALL)


def test_defaults_may_give_what_a_recipe_requires() -> None:
    recipe, _ = traced("model: {base: tiny}", recipe=SMALL.replace("model: {base: tiny}\n", ""))
    assert recipe.model.base == "tiny"


@pytest.mark.parametrize(
    ("defaults", "complaint"),
    [
        ("cluster:\n  imag: x\n", "line 2, cluster.imag: unknown key; did you mean image?"),
        ("cluster:\n  gpus: '8'\n", "line 2, cluster.gpus: should be a valid integer, not '8'"),
        ("cluster: []\n", "line 1, cluster: should be a mapping of keys, not a list"),
        ("cluster:\n  egress: [{to: 10.0.0.1}]\n", "line 2, cluster.egress[0].port: is required"),
        ("cluster: {pod: {env_secrets: {'1=': {secret: a, key: b}}}}", "line 1, cluster.pod.env_secrets: '1=' can't"),
        ("cluster: {pod: {volumes: [{name: runs, path: /a, source: {}}]}}", "line 1, cluster.pod.volumes[0]: can't be"),
        ("name: x\n", "line 1, name: each recipe sets this itself: remove it"),
        ("apiVersion: phi3k/v1\n", "line 1, apiVersion: each recipe sets this itself: remove it"),
        ("data:\n  source: csv\n  source: hf\n", "line 3, data.source: this key appears twice"),
    ],
)
def test_a_mistake_in_the_defaults_names_their_file_and_its_line(defaults: str, complaint: str) -> None:
    message = refusal("training: {seed: 1}", defaults)
    assert message.startswith("2.yaml: 1 problem\n  " + complaint)


def test_a_mistake_in_the_defaults_is_refused_although_the_recipe_replaces_it() -> None:
    assert refusal("cluster: {gpus: many}", recipe=SMALL + "cluster: {gpus: 8}").startswith("1.yaml: 1 problem")


@pytest.mark.parametrize("text", ["- a", "text", "a: [1,"])
def test_defaults_that_are_no_mapping_are_one_plain_error(text: str) -> None:
    assert refusal(text).startswith("1.yaml: ")


def test_a_secret_in_the_defaults_is_refused_and_not_repeated() -> None:
    message = refusal("cluster:\n  env: {AWS_SECRET_ACCESS_KEY: abcdefgh}\n")
    assert message.startswith("1.yaml: 1 problem\n  line 2, cluster.env: can't set AWS_SECRET_ACCESS_KEY")
    assert "abcdefgh" not in message


def test_a_section_that_the_recipe_completes_is_no_mistake() -> None:
    recipe, _ = traced(
        "data: {source: csv}\ncluster: {pod: {env_secrets: {A: {secret: s}}}}",
        recipe=SMALL.replace("source: sample", "path: a.csv") + "cluster: {pod: {env_secrets: {A: {key: k}}}}",
    )
    assert (recipe.data.source, recipe.data.path) == ("csv", "a.csv")
    assert recipe.cluster.pod.env_secrets["A"].model_dump() == {"secret": "s", "key": "k"}


def test_what_nobody_completes_is_named_where_it_stands() -> None:
    message = refusal("cluster:\n  pod:\n    env_secrets:\n      A: {secret: s}\n")
    assert message == "own.yaml: 1 problem\n  1.yaml, line 4, cluster.pod.env_secrets.A.key: is required"


def test_a_rule_that_two_files_break_together_names_both() -> None:
    message = refusal("tuning: {vision: lora}", recipe=SMALL + "tuning: {method: full}")
    assert message.startswith("own.yaml: 1 problem\n  line 5, tuning: method 'full' trains no adapters")
    assert message.endswith(" (a part is from 1.yaml)")
