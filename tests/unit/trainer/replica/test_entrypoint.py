"""The first process of the container, around small real programs."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from phi3k_trainer.replica.entrypoint import ends_first, torchrun_command

SUPERVISED = """
import os, sys
from phi3k_trainer.replica.entrypoint import supervise
print(supervise([sys.executable, "-c", sys.argv[1]], os.environ, int(sys.argv[2]) or None))
"""


def supervise(program: str, deadline: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SUPERVISED, textwrap.dedent(program), str(deadline)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_the_childs_exit_code_comes_back() -> None:
    assert supervise("raise SystemExit(3)").communicate(timeout=20)[0] == "(3, False)\n"


def test_a_child_that_is_killed_tells_by_which_signal() -> None:
    assert supervise("import os; os.kill(os.getpid(), 9)").communicate(timeout=20)[0] == "(-9, False)\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_child(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready"
    program = f"""
        import pathlib, signal, sys, time
        signal.signal({int(number)}, lambda *_: sys.exit(42))
        pathlib.Path({str(ready)!r}).touch()
        time.sleep(20)
    """
    process = supervise(program)
    while not ready.exists():
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.communicate(timeout=20)[0] == "(42, False)\n"


def test_the_deadline_terminates_the_child_and_says_so() -> None:
    assert supervise("import time; time.sleep(20)", deadline=1).communicate(timeout=20)[0] == "(-15, True)\n"


def test_without_an_operator_one_process_runs_by_itself() -> None:
    command = torchrun_command("recipe.yaml", [], {})
    assert "--standalone" in command
    assert command[command.index("--nproc-per-node") + 1] == "1"


def test_one_node_looks_for_no_other_whatever_name_it_was_given() -> None:
    node = {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "8", "PET_MASTER_ADDR": "demo-0.demo"}
    command = torchrun_command("recipe.yaml", [], node)
    assert "--standalone" in command
    assert "--nproc-per-node" not in command


def test_several_nodes_meet_where_the_operator_says() -> None:
    assert "--standalone" not in torchrun_command("recipe.yaml", [], {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "8"})


def test_overrides_are_passed_on_as_single_arguments() -> None:
    hostile = "data.prompt=a; rm -rf $(HOME) `id`"
    assert torchrun_command("recipe.yaml", [hostile], {})[-2:] == ["--set", hostile]


@pytest.mark.parametrize(
    ("endpoint", "host", "first"),
    [
        ({"PET_RDZV_ENDPOINT": "demo-worker-0:23456"}, "demo-worker-0", True),
        ({"PET_RDZV_ENDPOINT": "demo-worker-0:23456"}, "demo-worker-1", False),
        ({}, "demo-1", True),
    ],
)
def test_of_an_elastic_job_the_replica_that_all_meet_at_ends_first(
    endpoint: dict[str, str], host: str, first: bool
) -> None:
    assert ends_first(endpoint, host) is first


def test_a_replica_that_lingers_goes_when_told() -> None:
    program = """
        import os, signal, threading
        from phi3k_trainer.replica.entrypoint import linger
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        linger(60)
        print("gone")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "gone\n"
