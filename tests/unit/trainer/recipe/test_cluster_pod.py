"""What `cluster.pod` and `cluster.overlay` may not say."""

import pytest

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe

CLAIM = "source: {persistentVolumeClaim: {claimName: a}}"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("pod.labels={phi3k/run: other}", "can't set phi3k/run"),
        ("pod.annotations={app.kubernetes.io/name: x}", "can't set app.kubernetes.io/name"),
        (f"pod.volumes=[{{name: runs, path: /data, {CLAIM}}}]", "phi3k has a volume of that name"),
        (f"pod.volumes=[{{name: data, path: /cache, {CLAIM}}}]", "would hide what the trainer needs"),
        ("pod.volumes=[{name: data, path: /data, source: {nfs: {}, hostPath: {}}}]", "one source"),
        (
            f"pod.volumes=[{{name: a, path: /a, {CLAIM}}}, {{name: a, path: /b, {CLAIM}}}]",
            "two volumes have the name a",
        ),
        ("pod.resource_claims=[{name: gpu}]", "either a claim or a template"),
        ("overlay={kind: Pod}", "a pod template has only metadata and spec"),
        ("overlay={metadata: {name: x}}", "only labels and annotations"),
        ("overlay={spec: 1}", "spec should be a mapping"),
        ("annotations={}", "did you mean cluster.pod.annotations?"),
    ],
)
def test_what_a_pod_can_not_have_is_refused_with_its_place(override: str, complaint: str) -> None:
    with pytest.raises(RecipeError, match="cluster") as refused:
        load_recipe(ready_recipe("demo"), [f"cluster.{override}"])
    assert complaint in str(refused.value)


def test_pods_go_together_by_topology_or_by_an_affinity_of_their_own() -> None:
    overrides = ["cluster.topology=rack", "cluster.pod.affinity={podAffinity: {}}"]
    with pytest.raises(RecipeError, match="both decide which nodes the pods share"):
        load_recipe(ready_recipe("demo"), overrides)
