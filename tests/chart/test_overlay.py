"""An overlay is merged as `kubectl patch --type strategic` merges a patch."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools.cluster.tools import KUBERNETES, build

from phi3k_jobs.objects.overlay import MERGE_KEYS, merge, overlaid
from phi3k_trainer.errors import RecipeError

NAMES = ("a", "b", "c")
WORDS = st.sampled_from(["x", "y"])


def named(fields: dict[str, st.SearchStrategy[Any]], key: str = "name") -> st.SearchStrategy[list[dict[str, Any]]]:
    """Entries with different names, each with some of the fields."""
    entry = st.fixed_dictionaries({key: st.sampled_from(NAMES)}, optional=fields)
    return st.lists(entry, max_size=3, unique_by=lambda found: found[key])


def patches_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    deleted = st.sampled_from(NAMES).map(lambda name: {"name": name, "$patch": "delete"})
    entry = st.fixed_dictionaries({"name": st.sampled_from(NAMES)}, optional=fields)
    return st.lists(st.one_of(entry, deleted), max_size=3, unique_by=lambda found: found["name"])


LABELS = st.dictionaries(st.sampled_from(NAMES), WORDS)
ENV = {"value": WORDS}
VOLUMES = {"emptyDir": st.fixed_dictionaries({}, optional={"medium": st.just("Memory"), "sizeLimit": st.just("1Gi")})}
TOLERATIONS = st.lists(st.fixed_dictionaries({"key": WORDS}), max_size=2)
TEMPLATES = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"labels": LABELS}),
        "spec": st.fixed_dictionaries(
            {"containers": named({"image": WORDS, "env": named(ENV), "args": st.lists(WORDS, max_size=2)})},
            optional={"volumes": named(VOLUMES), "tolerations": TOLERATIONS, "nodeSelector": LABELS},
        ),
    }
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {"labels": st.dictionaries(st.sampled_from(NAMES), st.one_of(WORDS, st.none()))}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": patches_of({"image": WORDS, "env": patches_of(ENV), "args": st.lists(WORDS, max_size=2)}),
                "volumes": patches_of(VOLUMES),
                "tolerations": st.one_of(TOLERATIONS, st.none()),
                "nodeSelector": st.dictionaries(st.sampled_from(NAMES), st.one_of(WORDS, st.none())),
                "hostNetwork": st.one_of(st.booleans(), st.none()),
            },
        ),
    },
)


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return build(KUBERNETES) / "kubectl"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEMPLATES, PATCHES)
def test_the_result_is_kubectls(kubectl: Path, template: dict[str, Any], patch: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **merge(template, {"metadata": {"name": "pod"}})}
    command = [kubectl, "patch", "--filename=-", "--local", "--type=strategic", "--output=json", "--patch"]
    patched = subprocess.run(
        [*command, json.dumps(patch)], input=json.dumps(pod), capture_output=True, text=True, check=True
    )
    assert without_order(merge(pod, patch)) == without_order(json.loads(patched.stdout))


def without_order(found: Any, name: str = "") -> Any:
    """Lists that are merged by a key have no order of their own; what is empty is not stored.

    Nor is an order to delete what is not there, which kubectl leaves inside an element that the patch adds.
    """
    if isinstance(found, dict):
        content = {key: without_order(value, key) for key, value in found.items()}
        return {key: value for key, value in content.items() if value not in ({}, [], False) or key == "emptyDir"}
    if isinstance(found, list) and name in MERGE_KEYS:
        return {entry[MERGE_KEYS[name]]: without_order(entry) for entry in found if "$patch" not in entry}
    return found


def test_an_entry_without_its_key_is_refused() -> None:
    template = {"metadata": {}, "spec": {"containers": [{"name": "trainer", "env": [], "volumeMounts": []}]}}
    with pytest.raises(RecipeError, match="needs name"):
        overlaid(template, {"spec": {"containers": [{"tty": True}]}})
