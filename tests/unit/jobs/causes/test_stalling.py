"""A pod that runs and makes no progress."""

from datetime import UTC, datetime
from typing import Any

import pytest

from phi3k_jobs.watch.diagnosis import Facts, diagnose
from tests.unit.jobs.making import pod, run

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def probed(*, ready: bool) -> dict[str, Any]:
    status = {"name": "trainer", "ready": ready, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    return pod("demo-0", "Running", containerStatuses=[status])


def complaint(since: str, name: str = "demo-0") -> dict[str, Any]:
    words = f"Readiness probe failed: no progress since {since}: training at step 120 of 400\n"
    return {"reason": "Unhealthy", "message": words, "involvedObject": {"name": name}}


@pytest.mark.parametrize(
    ("since", "words"),
    [("2026-01-01T11:36:20Z", "23 min"), ("2026-01-01T09:30:00Z", "2 h"), ("2026-01-01T11:59:59Z", "0 min")],
)
def test_a_stalled_pod_is_named_with_its_silence_and_its_place(since: str, words: str) -> None:
    found = diagnose(Facts(run("Pending"), [probed(ready=False)], [complaint(since)], now=NOW))
    assert found.state == "Stalled"
    assert found.cause == f"demo-0 has made no progress for {words}: training at step 120 of 400"
    assert "phi3k resume demo" in found.action


def test_what_the_probe_said_before_counts_no_more_once_the_pod_is_ready() -> None:
    found = diagnose(Facts(run("Running"), [probed(ready=True)], [complaint("2026-01-01T11:00:00Z")], now=NOW))
    assert found.state == "Running"


def test_a_pod_that_was_not_asked_yet_is_not_stalled() -> None:
    assert diagnose(Facts(run("Running"), [probed(ready=False)], now=NOW)).state == "Running"


def test_another_pods_complaint_is_not_its_own() -> None:
    facts = Facts(run("Running"), [probed(ready=False)], [complaint("2026-01-01T11:00:00Z", "demo-1")], now=NOW)
    assert diagnose(facts).state == "Running"
