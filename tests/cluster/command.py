"""The command as a user runs it, on the test cluster and in a namespace of the test's own."""

import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from tools.cluster.cluster import Cluster
from tools.cluster.errors import ClusterError
from tools.cluster.processes import phi3k as command_line
from tools.cluster.stand_in import overrides

from phi3k.main import main
from phi3k_jobs.kinds import KINDS


@dataclass(frozen=True)
class Result:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on standard output."""
        return json.loads(self.out)


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def heed_interrupts() -> None:
    """Undo what a shell does for a job in its background: Python would not see Ctrl-C at all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A command line at work beside the test. A thread would share its standard output with the test's own commands."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command_line(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"},
            preexec_fn=heed_interrupts,
        )

    def read_line(self) -> str:
        """Wait for one line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def read_errors_until(self, words: str) -> str:
        """Wait for the line of its standard error that has these words."""
        assert self.process.stderr is not None
        return next(line for line in self.process.stderr if words in line)

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that it does; it must not end before."""
        while not is_so():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def has_ended(self) -> bool:
        """Whether it is at its end."""
        return self.process.poll() is not None

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def result(self, seconds: float = 120) -> Result:
        """Wait for its end; what it wrote from here on, and its exit code."""
        out, err = self.process.communicate(timeout=seconds)
        return Result(self.process.returncode, out, err)


@dataclass(frozen=True)
class Command:
    """`phi3k` for one user of a cluster, in one namespace."""

    cluster: Cluster
    namespace: str
    kubeconfig: str

    def __call__(self, *arguments: str) -> Result:
        """Run one command line."""
        # JSON is written as bytes, which a StringIO has no place for.
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err):
            code = main([*arguments, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace])
        return Result(code, _written(out), _written(err))

    @contextmanager
    def beside(self, *arguments: str) -> Iterator[Running]:
        """Run one command line as a process of its own, which does not outlive the block."""
        running = Running([*arguments, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace])
        try:
            yield running
        finally:
            running.process.kill()
            running.process.communicate()

    def submit(self, name: str, script: str, *arguments: str) -> Result:
        """Submit the demo's recipe with `script` for a trainer."""
        sets = [argument for override in overrides(script) for argument in ("--set", override)]
        return self("submit", "demo", "--name", name, *sets, *arguments)

    def status(self, name: str) -> Any:
        """What `phi3k status` knows of a run."""
        result = self("status", name, "--output", "json")
        assert result.code == 0, result.err
        return result.json

    def status_when(self, name: str, condition: Callable[[Any], bool], seconds: float = 60) -> Any:
        """The status of a run once it meets a condition; ClusterError if it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition(status := self.status(name)):
            if time.monotonic() > deadline:
                raise ClusterError(f"the run {name} is still so: {status}")
            time.sleep(0.5)
        return status

    def objects(self) -> list[str]:
        """What phi3k has in the namespace, besides claims, as `Kind name`."""
        resources = {resource for kind in KINDS.values() for resource in (kind.job, *kind.needs)}
        kinds = ["pods", "configmaps", "serviceaccounts", "networkpolicies"]
        kinds += [f"{resource.plural}.{resource.group}".removesuffix(".") for resource in resources]
        found = self.cluster.kubectl(
            "get", ",".join(kinds), "--namespace", self.namespace, "--selector=phi3k/run", "--output=json"
        )
        return sorted(f"{item['kind']} {item['metadata']['name']}" for item in json.loads(found)["items"])

    def cancel_all(self) -> None:
        """End every run of the namespace, and wait until their objects have gone."""
        for run in self("list", "--output", "json").json:
            self("cancel", run["name"], "--yes")
        self.wait_until_gone()

    def wait_until_gone(self, seconds: float = 60) -> None:
        """Wait until nothing of phi3k but claims is in the namespace; ClusterError if something stays."""
        deadline = time.monotonic() + seconds
        while left := self.objects():
            if time.monotonic() > deadline:
                raise ClusterError(f"still there: {', '.join(left)}")
            time.sleep(0.5)
