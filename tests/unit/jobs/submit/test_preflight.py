"""What submit reads off the nodes that are up: notes, since an autoscaler may bring others."""

from typing import Any

import pytest

from phi3k_jobs.api.discovery import Capabilities
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.render import objects
from phi3k_jobs.submit.preflight import check_memory, check_nodes, queue_note
from phi3k_trainer.contract import KindName
from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.recipe.ready import ready_recipe
from tests.unit.jobs.making import merged

POOL = "cloud.google.com/gke-nodepool"
L4_MEBIBYTES, T4_MEBIBYTES = 23034, 15360


def node(gpus: int, mebibytes: int, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "small", "labels": {"nvidia.com/gpu.memory": str(mebibytes), **labels}},
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}},
    }


def recipe(name: str = "burberry-lora", *overrides: str) -> Recipe:
    return load_recipe(ready_recipe(name), ["cluster.gpus=8", *overrides])


def test_a_pool_at_zero_is_waited_for_where_no_gpu_node_is_up() -> None:
    (note,) = check_nodes(recipe(), [{"metadata": {"name": "cpu"}, "status": {}}])
    assert "waits until one is added" in note


@pytest.mark.parametrize("selector", [(), (f"cluster.node_selector.{POOL}=h100-spot",)])
def test_a_small_node_of_others_does_not_refuse_a_run_of_a_pool_at_zero(selector: tuple[str, ...]) -> None:
    (note,) = check_nodes(recipe("burberry-lora", *selector), [node(1, L4_MEBIBYTES)])
    assert "no node that is up has more than 1" in note
    assert "waits until one is added" in note
    assert "--set cluster.gpus_per_node=1" in note


def test_a_selector_that_names_a_pool_at_zero_is_a_note() -> None:
    placed = recipe("burberry-lora", f"cluster.node_selector.{POOL}=h100-spot")
    (note,) = check_nodes(placed, [node(8, L4_MEBIBYTES)])
    assert "h100-spot" in note
    assert check_nodes(placed, [node(8, L4_MEBIBYTES, **{POOL: "h100-spot"})]) == []


def test_the_memory_of_the_gpus_that_are_up_is_a_note_too() -> None:
    (note,) = check_memory(recipe("burberry-full-8gpu"), [node(1, T4_MEBIBYTES)])
    assert "on each device, which has 15.0" in note
    assert check_memory(recipe("burberry-full-8gpu"), [node(8, 81559)]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_has_no_effect_on_a_job_that_nothing_has_suspended(kind: KindName) -> None:
    queued = recipe("demo", "cluster.queue=team")
    job, capabilities = objects(queued, kind=kind)[-1], Capabilities((kind,), kueue=True)
    (note,) = queue_note(queued, capabilities, kind, job)
    assert "the queue team has no effect: Kueue does not manage this kind of job here" in note
    assert queue_note(queued, capabilities, kind, merged(job, KINDS[kind].suspension(True))) == []
