"""A trainer that has ended in a pod where a container that the cluster has added still runs."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from phi3k_jobs.watch.diagnosis import Diagnosis, Facts, diagnose
from tests.unit.jobs.making import pod, run

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LONG_AGO = "2026-01-01T11:00:00Z"
RUNNING = {"running": {"startedAt": LONG_AGO}}


def meshed(rank: int, state: dict[str, Any]) -> dict[str, Any]:
    statuses = [{"name": "trainer", "state": state}, {"name": "istio-proxy", "ready": True, "state": RUNNING}]
    found = pod(f"demo-{rank}", "Running", rank=rank, containerStatuses=statuses)
    found["spec"]["containers"].append({"name": "istio-proxy"})
    return found


def ended(code: int, message: str = "m", finished: str = LONG_AGO) -> dict[str, Any]:
    told = json.dumps({"exit_code": code, "message": message})
    return {"terminated": {"exitCode": code, "message": told, "finishedAt": finished}}


def found(*states: dict[str, Any]) -> Diagnosis:
    return diagnose(Facts(run("Running"), [meshed(rank, state) for rank, state in enumerate(states)], now=NOW))


@pytest.mark.parametrize(("code", "state"), [(0, "Succeeded"), (65, "Failed"), (143, "Failed")])
def test_the_trainers_end_is_the_runs_though_a_sidecar_keeps_the_pod_running(code: int, state: str) -> None:
    diagnosis = found(ended(code))
    assert (diagnosis.state, diagnosis.exit_code) == (state, code)
    assert "istio-proxy" in diagnosis.cause
    assert "phi3k cancel demo" in diagnosis.action


def test_a_permanent_failure_ends_the_run_at_once() -> None:
    assert found(RUNNING, ended(65)).exit_code == 65


@pytest.mark.parametrize("code", [0, 143])
def test_another_end_waits_for_the_other_replicas(code: int) -> None:
    assert found(RUNNING, ended(code)).state == "Running"
    assert found(ended(0), ended(code)).exit_code == code


def test_a_sidecar_has_a_minute_to_heed_the_end() -> None:
    assert found(ended(0, finished="2026-01-01T11:59:30Z")).state == "Running"
