"""The first process of the trainer's container: torchrun inside, signals, children and exit codes put right.

torchrun answers every failure with exit code 1, so a cluster can't tell a wrong recipe from a lost node. Each worker
writes how it ended (`exit_report.py`); this process makes the documented exit code and termination message of it.
It keeps the replica's lines in the run's directory, where the next attempt reads how this one ended.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from phi3k_trainer.contract import (
    ALL_RANKS_VARIABLE,
    DEADLINE_EXIT_CODE,
    DEADLINE_VARIABLE,
    GPUS_MODULE,
    HEALTH_VARIABLE,
    METRICS_PORT_VARIABLE,
    NODES_VARIABLE,
    OUTCOMES_VARIABLE,
    OUTPUT_VARIABLE,
    PREEMPTED_EXIT_CODE,
    PROCESSES_VARIABLE,
    RENDEZVOUS_VARIABLE,
    WORKER_MODULE,
)
from phi3k_trainer.errors import Phi3kError
from phi3k_trainer.recipe import Recipe, load_recipe
from phi3k_trainer.replica.attempts import WAITING_FOR, begin_log, reason_to_give_up
from phi3k_trainer.replica.exit_report import ExitReport, combine, read_exit_reports
from phi3k_trainer.replica.finished import earlier_end
from phi3k_trainer.replica.health import Health
from phi3k_trainer.replica.log import ReplicaLog
from phi3k_trainer.replica.meeting import meet, meeting_point
from phi3k_trainer.replica.metrics_endpoint import serve_metrics
from phi3k_trainer.replica.relay import Output
from phi3k_trainer.terminal import escaped_message

TERMINATION_LOG = Path("/dev/termination-log")
# Of cgroup v2, else of v1; each has a line `oom_kill <count>`.
OOM_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
# The training operator takes an elastic job for done with the first worker that is, and deletes those that still run:
# the others give the one that has the log this long to be first.
LINGER_SECONDS = 10.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def torchrun_command(recipe: str, overrides: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command of torchrun, which reads PET_*; where no operator set them it runs one process by itself."""
    command = [sys.executable, "-m", "torch.distributed.run"]
    if environment.get(NODES_VARIABLE, "1") == "1":
        # A single node meets nobody, so it needs no name from a DNS that may be out of reach.
        command.append("--standalone")
    if PROCESSES_VARIABLE not in environment:
        command += ["--nproc-per-node", "1"]
    # The cluster starts a failed replica again, so torchrun must not: it would retry a wrong recipe too.
    command += ["--max-restarts", "0"]
    if environment.get(ALL_RANKS_VARIABLE) != "1":
        command += ["--local-ranks-filter", "0"]
    command += ["--module", WORKER_MODULE, recipe]
    for override in overrides:
        command += ["--set", override]
    return command


def supervise(
    command: Sequence[str], environment: Mapping[str, str], deadline_seconds: int | None, output: int | None = None
) -> tuple[int, bool]:
    """Run `command` to its end, forwarding signals and reaping orphans.

    Args:
        command: The program and its arguments.
        environment: Its environment.
        deadline_seconds: When to tell it to stop, None: never.
        output: The descriptor that it writes to, None: where this process does.

    Returns:
        The command's exit status (negative: killed by that signal) and whether the deadline had to end it.
    """
    deadline_passed = False
    # Signals go through os.kill: Popen.send_signal may reap the child that the loop below waits for.
    child = subprocess.Popen(command, env=dict(environment), start_new_session=True, stdout=output, stderr=output)

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child.pid, number)

    def end_at_deadline(_number: int, _frame: FrameType | None) -> None:
        nonlocal deadline_passed
        deadline_passed = True
        os.kill(child.pid, signal.SIGTERM)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.signal(signal.SIGALRM, end_at_deadline)
    if deadline_seconds is not None:
        signal.alarm(deadline_seconds)
    while True:
        # As PID 1 this process inherits every orphan; whoever it is gets reaped.
        pid, status = os.wait()
        if pid == child.pid:
            signal.alarm(0)
            return os.waitstatus_to_exitcode(status), deadline_passed


def report(outcome: ExitReport, termination_log: Path) -> None:
    """Say how the replica ended: on stderr, and in the message that `kubectl describe` shows."""
    if outcome.exit_code != 0:
        print(outcome.to_json(), file=sys.stderr, flush=True)
    if termination_log.exists():
        termination_log.write_text(outcome.to_json(), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the recipe named on the command line; return the documented exit code."""
    parser = argparse.ArgumentParser(prog="phi3k-entrypoint", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    options = parser.parse_args(arguments)
    Health.of_this_process(os.environ).enter("starting")
    command = torchrun_command(options.recipe, options.overrides, os.environ)
    try:
        outcome = attempt(load_recipe(options.recipe, options.overrides), command)
    except Phi3kError as error:
        print(f"error: {escaped_message(str(error))}", file=sys.stderr, flush=True)
        outcome = ExitReport(error.exit_code, str(error))
    report(outcome, TERMINATION_LOG)
    if outcome.exit_code == 0 and not ends_first(os.environ, socket.gethostname()):
        linger(LINGER_SECONDS)
    return outcome.exit_code


def ends_first(environment: Mapping[str, str], host: str) -> bool:
    """Return whether this is the replica that the others meet at, or the operator needs no order."""
    meeting_point = environment.get(RENDEZVOUS_VARIABLE, host)
    return meeting_point.partition(":")[0] == host


def linger(seconds: float) -> None:
    """Wait so long, or until asked to stop."""
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
    told_to_stop.wait(seconds)


def attempt(recipe: Recipe, command: Sequence[str]) -> ExitReport:
    """Train once, unless all is done or the attempts before led nowhere; keep what was said in the run's directory."""
    limit = os.environ.get(DEADLINE_VARIABLE)
    deadline = time.monotonic() + int(limit) if limit else None
    log, before = begin_log(recipe.run_path, socket.gethostname())
    if port := os.environ.get(METRICS_PORT_VARIABLE):
        serve_metrics(int(port), Path(os.environ[HEALTH_VARIABLE]), restarts=before[-1].number if before else 0)
    if outcome := earlier_end(recipe):
        print(outcome.message, flush=True)
    else:
        outcome = (
            reason_to_give_up(recipe, before)
            or missing_gpus(recipe.cluster.gpus, log, deadline)
            or missing_peers(log, deadline)
            or run(command, log, deadline)
        )
    log.write(outcome.to_json().encode())
    log.close()
    return outcome


def missing_gpus(asked: int, log: ReplicaLog, deadline: float | None) -> ExitReport | None:
    """Look whether torch sees a GPU for each process of this replica, where cluster.gpus asks for any.

    Only the entry point knows that they are due: it runs in pods alone, while a recipe with cluster.gpus may be trained
    on a laptop too.
    """
    if asked == 0:
        return None
    here = os.environ.get(PROCESSES_VARIABLE, "1")
    looked = run([sys.executable, "-m", GPUS_MODULE, str(asked), here], log, deadline)
    return looked if looked.exit_code else None


def missing_peers(log: ReplicaLog, deadline: float | None) -> ExitReport | None:
    """Wait until every replica has a node and is here: None then, else how the wait has ended."""
    point = meeting_point(os.environ, socket.gethostname())
    if point is None:
        return None
    health, stopped, whom = Health.of_this_process(os.environ), threading.Event(), ""
    for number in FORWARDED:
        signal.signal(number, lambda *_: stopped.set())

    def waiting(replicas: str) -> None:
        nonlocal whom
        health.wait_for(replicas)
        if replicas != whom:
            whom = replicas
            say(log, {"message": f"waiting for {whom}; this costs no attempt", WAITING_FOR: whom})

    health.enter("meeting")
    if meet(point, waiting, lambda: stopped.is_set() or (deadline is not None and time.monotonic() >= deadline)):
        if whom:
            say(log, {"message": f"all {point.replicas} replicas are here"})
        health.enter("starting")
        return None
    others = whom or "the other replicas"
    if stopped.is_set():
        return ExitReport(PREEMPTED_EXIT_CODE, f"stopped while it waited for {others}: there was nothing to save")
    return ExitReport(DEADLINE_EXIT_CODE, f"the deadline has passed while waiting for {others}")


def say(log: ReplicaLog, document: Mapping[str, Any]) -> None:
    """Write one line to the replica's log, which the next attempt reads, and then to standard output."""
    line = json.dumps(document)
    log.write(line.encode())
    print(line, flush=True)


def run(command: Sequence[str], log: ReplicaLog, deadline: float | None) -> ExitReport:
    """Run torchrun, or another program that leaves outcomes, to its end and return how its processes ended.

    `deadline`: when it has to stop, by the monotonic clock; None: never.
    """
    kills_before = oom_kills()
    seconds_left = None if deadline is None else max(1, round(deadline - time.monotonic()))
    with tempfile.TemporaryDirectory(prefix="phi3k-outcomes-") as outcomes:
        output = Output(log, Path(outcomes) / "output")
        environment = {**os.environ, OUTCOMES_VARIABLE: outcomes, OUTPUT_VARIABLE: str(Path(outcomes) / "output")}
        status, deadline_passed = supervise(command, environment, seconds_left, output.writer)
        output.finish()
        return combine(
            read_exit_reports(Path(outcomes)),
            status,
            deadline_passed=deadline_passed,
            killed_by=output.killed_by,
            out_of_memory=oom_kills() > kills_before,
        )


def oom_kills() -> int:
    """How many processes of this container the kernel has killed because it used more memory than its limit."""
    for file in OOM_COUNTERS:
        if file.exists():
            counters = dict(line.split() for line in file.read_text(encoding="ascii").splitlines())
            return int(counters.get("oom_kill", 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
