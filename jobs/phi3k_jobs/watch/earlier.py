"""How the attempt before the current one ended, although its pod may have been replaced.

The entry point records it in the first line of the next pod's log. While that pod has not started, the failed pod that
a Job keeps shows it, or the events of the training operator about the pods that it has deleted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.causes.endings import outcome_in
from phi3k_jobs.causes.kubelet import end_of
from phi3k_jobs.causes.replicas import by_rank, has_log, pod_selector, termination
from phi3k_jobs.kinds import KINDS
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.watch.diagnosis import Facts
from phi3k_jobs.watch.facts import event_time, to_the_second
from phi3k_jobs.watch.logs import lines_of
from phi3k_trainer.contract import UNEXPLAINED_EXIT_CODE, read_later_attempt
from phi3k_trainer.errors import Phi3kError

# The replicas of a run restart together: a few of them are enough to find the reason.
PODS_ASKED = 3
HEAD_BYTES = 16384
_OPERATOR_EVENTS = tuple(pattern for kind in KINDS.values() for pattern in kind.failure_events)


@dataclass(frozen=True)
class Earlier:
    """The end of the attempt before."""

    pod: str
    exit_code: int | None
    """None: the whole pod was killed, or its node was lost."""
    message: str
    attempt: int | None
    """Number of the current attempt, counted from 1; None if it has not begun."""


def find_earlier(cluster: Cluster, facts: Facts) -> Earlier | None:
    """Return how the attempt before ended, None if there was none or nothing records it."""
    from_logs = [found for pod in islice(filter(has_log, facts.pods), PODS_ASKED) if (found := _in_log(cluster, pod))]
    if from_logs:
        begun = to_the_second(min(pod["metadata"]["creationTimestamp"] for pod in facts.pods))
        return explained(_most_informative(from_logs), [event for event in facts.events if event_time(event) <= begun])
    if any(map(has_log, facts.pods)):
        return None
    pods = by_rank(cluster.list("Pod", label_selector=pod_selector(facts.run.name)))
    return _most_informative([*in_pods(pods), *in_events(facts.events)])


def explained(found: Earlier | None, events: Sequence[Manifest]) -> Earlier | None:
    """Add what the operator's events report about an attempt that was killed together with its entry point.

    `events` are those from before the present attempt, which has events of its own.
    """
    if found is None or found.exit_code is not None:
        return found
    reported_by_operator = _most_informative(list(in_events(events)))
    return replace(reported_by_operator, attempt=found.attempt) if reported_by_operator else found


def in_first_line(pod: str, line: str) -> Earlier | None:
    """Parse the first line that the entry point writes in a second or later attempt."""
    start = read_later_attempt(line)
    return Earlier(pod, start.previous_exit_code, start.message, start.number) if start else None


def in_pods(pods: Iterable[Manifest]) -> Iterator[Earlier]:
    """Read the failed pods that a Job keeps, the newest first."""
    for pod in reversed(list(pods)):
        ended = termination(pod)
        if ended is not None and ended["exitCode"] != 0:
            yield _earlier(pod["metadata"]["name"], ended["exitCode"], ended.get("message") or ended.get("reason", ""))
        elif ended is None and (whole := end_of(pod)):
            yield Earlier(pod["metadata"]["name"], whole.exit_code, whole.cause, None)


def in_events(events: Sequence[Manifest]) -> Iterator[Earlier]:
    """Parse the training operator's events about failed pods, the newest first, those with a message before others."""
    for pattern in _OPERATOR_EVENTS:
        for event in reversed(events):
            found = pattern.fullmatch(event.get("message", ""))
            if found is not None and found["code"] != "0":
                words = found.groupdict().get("message")
                # The event's reason is the container's own.
                if not words and event.get("reason") == "OOMKilled":
                    words = "it used more memory than its limit (OOMKilled)"
                yield _earlier(found["pod"], int(found["code"]), words or "")


def _in_log(cluster: Cluster, pod: Manifest) -> Earlier | None:
    try:
        lines = lines_of(cluster, pod, {"limitBytes": str(HEAD_BYTES)})
        return in_first_line(pod["metadata"]["name"], next(lines, ""))
    except Phi3kError:
        # The log is lost with its pod or node; the diagnosis reports these.
        return None


def _earlier(pod: str, code: int, message: str) -> Earlier:
    words = outcome_in(message).get("message", message)
    return Earlier(pod, code, f"{pod} ended with {code}" + (f": {words}" if words else ""), None)


def _most_informative(found: Sequence[Earlier]) -> Earlier | None:
    informative = (earlier for earlier in found if earlier.exit_code not in (UNEXPLAINED_EXIT_CODE, None))
    return next(informative, found[0] if found else None)
