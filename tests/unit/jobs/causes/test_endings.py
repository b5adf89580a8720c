"""The end of a trainer's container: the cause in its own words, and the remedy of the place that it names."""

import json
from typing import Any

import pytest

from phi3k_jobs.watch.diagnosis import Diagnosis, Facts, diagnose
from tests.unit.jobs.making import ended, pod, run

VOLUMES = {
    "runs": ({"persistentVolumeClaim": {"claimName": "my-runs"}}, "/runs"),
    "cache": ({"persistentVolumeClaim": {"claimName": "my-cache"}}, "/cache"),
    "scratch": ({"emptyDir": {}}, "/tmp"),
    "shm": ({"emptyDir": {"medium": "Memory"}}, "/dev/shm"),
}


def failed(code: int, message: str, rank: int = 0) -> dict[str, Any]:
    told = json.dumps({"exit_code": code, "message": message})
    found = pod(f"demo-{rank}", "Failed", rank=rank, containerStatuses=ended(code, message=told))
    found["spec"]["volumes"] = [{"name": name, **volume} for name, (volume, _) in VOLUMES.items()]
    mounts = [{"name": name, "mountPath": path} for name, (_, path) in VOLUMES.items()]
    found["spec"]["containers"][0]["volumeMounts"] = mounts
    return found


def of_storage(message: str) -> Diagnosis:
    return diagnose(Facts(run("Failed"), [failed(74, message)]))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/runs/demo/checkpoints", "free space in the claim my-runs"),
        ("/cache/phi3k/store/tmp/a", "free space in the claim my-cache"),
        ("/tmp/wandb/x", "cluster.resources.ephemeral_storage"),
        ("/dev/shm/torch_1", "cluster.resources.shared_memory"),
        ("/var/log/x", "cluster.resources.ephemeral_storage"),
    ],
)
def test_a_full_disk_is_named_by_the_volume_that_is_full(path: str, words: str) -> None:
    found = of_storage(f"the disk is full: writing {path} needs 17 bytes")
    assert path in found.cause
    assert words in found.action
    assert "submit again" in found.action


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("Permission denied", "cluster.pod.supplemental_groups"),
        ("Operation not permitted", "cluster.pod.supplemental_groups"),
        ("Read-only file system", "read-only"),
        ("Input/output error", "has failed"),
        ("Stale file handle", "has failed"),
    ],
)
def test_what_room_would_not_correct_is_not_called_full(words: str, remedy: str) -> None:
    found = of_storage(f"can't write in /runs/demo: {words}; check checkpoint.directory and its permissions")
    assert remedy in found.action
    assert "the claim my-runs" in found.action
    assert "free space" not in found.action


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (65, "the data"),
        (66, "provide what the message names"),
        (69, "answers"),
        (73, "--name"),
        (78, "correct the recipe"),
    ],
)
def test_each_permanent_exit_code_has_its_own_correction(code: int, words: str) -> None:
    found = diagnose(Facts(run("Failed"), [failed(code, "m")]))
    assert words in found.action
    assert found.exit_code == code


def test_of_several_replicas_the_one_that_failed_by_itself_counts() -> None:
    lost, wrong = failed(129, "a peer was lost"), failed(65, "no column title", rank=1)
    assert diagnose(Facts(run("Failed"), [lost, wrong])).exit_code == 65


def test_memory_that_ran_out_in_one_process_is_named_as_what_to_raise() -> None:
    message = "a process was killed by SIGKILL: the container has used more memory than its limit"
    assert "cluster.resources.memory" in diagnose(Facts(run("Running"), [failed(137, message)])).action
