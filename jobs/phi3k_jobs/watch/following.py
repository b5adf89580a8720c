"""Following the logs of all replicas of a run: through waiting, restarts and re-creation, until the run is over.

One thread reads one pod name. A connection that breaks is opened again from the last line's timestamp, so that no
line is lost or repeated. A pod that is created again under the same name is read from its beginning.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, Queue

from phi3k_jobs.api.cluster import Cluster
from phi3k_jobs.api.refusals import NotFoundError
from phi3k_jobs.causes.replicas import current_pods, has_log, is_running, pod_selector, rank_of
from phi3k_jobs.causes.sidecars import end_beside_sidecars
from phi3k_jobs.objects.manifest import Manifest
from phi3k_jobs.runs import FINISHED, Run
from phi3k_jobs.watch.diagnosis import Diagnosis, diagnose
from phi3k_jobs.watch.facts import gather
from phi3k_jobs.watch.logs import Line, lines_of
from phi3k_jobs.watch.waiting import ignore, on_change, refreshed, until_answered
from phi3k_trainer.errors import Phi3kError, RecipeError, UnavailableError

POLL_SECONDS = 1.0
# A slow reader makes the threads wait instead of filling the memory.
LINES_HELD = 10_000
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass
class Resume:
    """Separates new lines from those read before, when a log is read again from a timestamp.

    Kubernetes counts `sinceTime` in whole seconds and several lines can share one timestamp, so both have to be
    counted.
    """

    timestamp: str = ""
    count: int = 0
    _skipped: int = field(default=0, repr=False)

    def again(self) -> str:
        """Begin to read again; return the timestamp to ask for, empty for everything."""
        self._skipped = 0
        return self.timestamp

    def is_new(self, timestamp: str) -> bool:
        """Record the next line's timestamp; return whether the line was not read before."""
        key = _sortable(timestamp)
        last = _sortable(self.timestamp) if self.timestamp else ""
        if key < last:
            return False
        if key == last:
            self._skipped += 1
            if self._skipped <= self.count:
                return False
            self.count += 1
            return True
        self.timestamp, self.count, self._skipped = timestamp, 1, 1
        return True


def _sortable(timestamp: str) -> str:
    """Return an RFC 3339 UTC timestamp with all nine digits of its fraction: kubelets cut trailing zeros."""
    seconds, _, fraction = timestamp.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


def follow_logs(
    cluster: Cluster,
    run: Run,
    *,
    tell: Callable[[Diagnosis], None] = ignore,
    notice: Callable[[str], None] = ignore,
    rank: int | None = None,
) -> Iterator[Line]:
    """Yield whole lines of all replicas, or of one, as they come, until the run has ended or is cancelled.

    Calls `tell` for each change of what the run waits for, as long as a replica has no log. Calls `notice` when the
    cluster does not answer, and continues when it answers again.

    Raises:
        Phi3kError: a log may not be read.
    """
    follower = _Follower(cluster, run, rank, notice)
    report_change = on_change(tell)
    next_look = 0.0
    while True:
        if time.monotonic() >= next_look:
            waiting = follower.look()
            if waiting is not None:
                report_change(until_answered(lambda waiting=waiting: diagnose(gather(cluster, waiting)), notice))  # type: ignore[misc]
            next_look = time.monotonic() + POLL_SECONDS
        try:
            yield follower.lines.get(timeout=POLL_SECONDS / 5)
        except Empty:
            if follower.is_done():
                return


class _Follower:
    """The pods of a run as last seen, and for each pod a thread that reads its log into one queue."""

    def __init__(self, cluster: Cluster, run: Run, rank: int | None, notice: Callable[[str], None]) -> None:
        self.lines: Queue[Line] = Queue(LINES_HELD)
        self._cluster = cluster
        self._run = run
        self._rank = rank
        self._notice = notice
        self._changed = threading.Condition()
        self._pods: dict[str, Manifest] = {}
        self._is_over = False
        self._threads: dict[str, threading.Thread] = {}
        self._failure: Phi3kError | None = None

    def look(self) -> Run | None:
        """Ask for the run and its pods, once for all threads, and begin to read pods that are new.

        Returns:
            The run if a replica has no log yet, None if there is nothing to wait for.
        """
        selector = pod_selector(self._run.name)
        run = refreshed(self._cluster, self._run, self._notice)
        pods = until_answered(lambda: list(self._cluster.list("Pod", label_selector=selector)), self._notice)
        with self._changed:
            self._pods = {
                pod["metadata"]["name"]: pod for pod in pods if self._rank is None or rank_of(pod) == self._rank
            }
            # A sidecar keeps a pod running, so the job never sees that the trainer has ended.
            ended = end_beside_sidecars(current_pods(pods), datetime.now(UTC))
            self._is_over = run is None or run.state in FINISHED or ended is not None
            self._changed.notify_all()
        for name in self._pods.keys() - self._threads.keys():
            self._threads[name] = threading.Thread(target=self._read, args=(name,), daemon=True)
            self._threads[name].start()
        has_begun = bool(self._pods) and all(map(has_log, self._pods.values()))
        return None if self._is_over or has_begun else run

    def is_done(self) -> bool:
        """Return whether the run is over and every line was read.

        Raises:
            Phi3kError: a thread failed with it.
        """
        if self._failure is not None:
            raise self._failure
        alive = any(thread.is_alive() for thread in self._threads.values())
        return self._is_over and not alive and self.lines.empty()

    def _read(self, name: str) -> None:
        """Read what is written under one pod name until the run is over."""
        uid, read, resume = "", "", Resume()
        try:
            while (pod := self._unread(name, read)) is not None:
                if pod["metadata"]["uid"] != uid:
                    uid, resume = pod["metadata"]["uid"], Resume()
                if self._take(pod, resume) and not is_running(pod):
                    read = uid
                else:
                    # The next look at the pod shows whether it continues.
                    time.sleep(POLL_SECONDS)
        except Phi3kError as error:
            self._failure = error

    def _unread(self, name: str, read: str) -> Manifest | None:
        """Wait until the pod has a log and is not the one already read; None if there will be none."""
        with self._changed:
            while True:
                pod = self._pods.get(name)
                if pod is not None and has_log(pod) and pod["metadata"]["uid"] != read:
                    return pod
                if self._is_over:
                    return None
                self._changed.wait()

    def _take(self, pod: Manifest, resume: Resume) -> bool:
        """Read a pod's log from the last line read; return whether its end was reached, or it is gone."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        query = {"follow": "true", "timestamps": "true"}
        if since := resume.again():
            query["sinceTime"] = since
        is_checked = False
        try:
            for line in lines_of(self._cluster, pod, query):
                if not is_checked and self._was_made_again(name, uid):
                    return False
                is_checked = True
                timestamp, _, text = line.partition(" ")
                # A line without a timestamp is not of the log: the kubelet reports with it that the container was
                # deleted.
                if _TIMESTAMP.fullmatch(timestamp) and resume.is_new(timestamp):
                    self.lines.put(Line(rank_of(pod), name, text))
        except (NotFoundError, RecipeError):
            # The pod is gone, or its container has no log.
            return True
        except UnavailableError:
            return False
        return True

    def _was_made_again(self, name: str, uid: str) -> bool:
        """Return whether the log of that name may be the log of the pod's successor."""
        try:
            pod = self._cluster.get("Pod", name)
        except UnavailableError:
            return True
        return pod is not None and pod["metadata"]["uid"] != uid
