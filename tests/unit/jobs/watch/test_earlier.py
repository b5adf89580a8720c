"""How the attempt before ended, from what outlives its pod; events are as training-operator 1.9.4 wrote them."""

import json
from typing import Any

import pytest

from phi3k_jobs.watch.earlier import Earlier, explained, in_events, in_first_line, in_pods

SAVED = {"exit_code": 143, "message": "asked to stop after step 12", "step": 12, "checkpoint": "/runs/demo/step-000012"}


def events(*messages: str) -> list[dict[str, Any]]:
    return [{"message": message} for message in messages]


def test_the_first_line_of_a_second_attempt_tells() -> None:
    line = json.dumps({"message": "attempt 2 of demo-0; the one before ended", "attempt": 2, "previous": SAVED})
    found = in_first_line("demo-0", line)
    assert found is not None
    assert (found.attempt, found.exit_code, found.pod) == (2, 143, "demo-0")


def test_an_attempt_that_ended_without_a_word_has_no_code() -> None:
    found = in_first_line("demo-0", json.dumps({"message": "...", "attempt": 2, "previous": None}))
    assert found is not None
    assert found.exit_code is None


@pytest.mark.parametrize("line", ["", "continuing from /", "[1, 2]", '{"step": 1}', '{"attempt": 1, "message": "m"}'])
def test_another_first_line_tells_nothing(line: str) -> None:
    assert in_first_line("demo-0", line) is None


def test_the_operators_newest_words_come_before_its_codes() -> None:
    first, *_ = in_events(
        events(
            "Error pod demo-master-0 container pytorch exitCode: 129 terminated message: older",
            f"Error pod demo-master-0 container pytorch exitCode: 143 terminated message: {json.dumps(SAVED)}",
            "Pod: team.demo-master-0 exited with code 143",
        )
    )
    assert first.message == "demo-master-0 ended with 143: asked to stop after step 12"


def test_a_code_alone_is_told_too_and_success_is_none() -> None:
    ended = events("Created pod: demo-master-0", "Pod: team.demo-master-0 exited with code 137")
    assert [found.message for found in in_events(ended)] == ["demo-master-0 ended with 137"]
    assert list(in_events(events("Pod: team.demo-master-0 exited with code 0"))) == []


def test_a_container_killed_as_a_whole_is_explained_by_the_operators_event() -> None:
    silent = Earlier("demo-master-0", None, "attempt 2; the one before ended without a word", 2)
    (event,) = events("Error pod demo-master-0 container pytorch exitCode: 137 terminated message: ")
    found = explained(silent, [event | {"reason": "OOMKilled"}])
    message = "demo-master-0 ended with 137: it used more memory than its limit (OOMKilled)"
    assert found == Earlier("demo-master-0", 137, message, 2)
    assert explained(silent, []) == silent


def test_of_the_pods_that_a_job_keeps_the_newest_failed_one_tells() -> None:
    pods = []
    for name, code in (("demo-0-a", 129), ("demo-0-b", 143), ("demo-0-c", 0)):
        ended = {"exitCode": code, "message": json.dumps(SAVED)}
        status = {"containerStatuses": [{"name": "trainer", "state": {"terminated": ended}}]}
        pods.append({"metadata": {"name": name}, "spec": {"containers": [{"name": "trainer"}]}, "status": status})
    assert [found.pod for found in in_pods(pods)] == ["demo-0-b", "demo-0-a"]
