"""How the verbs that follow a run show it: its logs by replica, the changes of its state, its end."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from phi3k.printing import say

if TYPE_CHECKING:
    from phi3k_jobs.api.cluster import Cluster
    from phi3k_jobs.runs import Run
    from phi3k_jobs.watch.diagnosis import Diagnosis
    from phi3k_jobs.watch.logs import Line

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")


def line_printer(run: "Run") -> "Callable[[Line], None]":
    """Return a function that prints a line of the run's log, after its replica if there are several."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = len(str(run.nodes - 1))

    def show(line: "Line") -> None:
        prefix = ""
        if run.nodes > 1:
            prefix = f"[{line.rank:>{width}}] "
            if coloured:
                prefix = typer.style(prefix, fg=COLOURS[line.rank % len(COLOURS)])
        say(line.text, before=prefix)

    return show


def notice(text: str) -> None:
    """Print a note on stderr, which is not part of the output."""
    say(f"note: {text}", err=True)


def tell(diagnosis: "Diagnosis") -> None:
    """Print the state of a run on stderr."""
    say(sentence(diagnosis), err=True)


def follow_to_the_end(cluster: "Cluster", name: str) -> "Diagnosis":
    """Show why a run waits, then its logs while they are written; returns how it ended."""
    from phi3k_jobs.runs import find_run
    from phi3k_jobs.watch.following import follow_logs

    run = find_run(cluster, name)
    show = line_printer(run)
    for line in follow_logs(cluster, run, tell=tell, notice=notice):
        show(line)
    return wait_for_the_end(cluster, name)


def wait_for_the_end(cluster: "Cluster", name: str) -> "Diagnosis":
    """Wait for a run, with changes of its state on stderr; returns how it ended."""
    from phi3k_jobs.runs import find_run
    from phi3k_jobs.watch.waiting import wait_for_end

    run = find_run(cluster, name)
    ended = wait_for_end(cluster, run, tell=tell, notice=notice)
    say(sentence(ended), err=True)
    return ended


def sentence(diagnosis: "Diagnosis") -> str:
    """The state of a run, its cause, and what to do."""
    action = f" ({diagnosis.action})" if diagnosis.action else ""
    return f"{diagnosis.state}: {diagnosis.cause}{action}"


def ended_as_json(ended: "Diagnosis") -> dict[str, Any]:
    """How a run ended, in plain JSON types."""
    from phi3k_jobs.watch.waiting import exit_code

    return {"state": ended.state, "cause": ended.cause, "exit_code": exit_code(ended), "checkpoint": ended.checkpoint}
