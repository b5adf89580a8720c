"""A cluster clashes with nothing and leaves nothing behind."""

import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tools.cluster import sandbox
from tools.cluster.cluster import Cluster, obstacle, up

pytestmark = pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))


def namespaces_in_use() -> set[str]:
    """Every network, PID and mount namespace that some process is in."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/*"):
        if link.name in {"net", "pid", "mnt"}:
            try:
                found.add(str(link.readlink()))
            except (FileNotFoundError, PermissionError):
                # It has ended, or belongs to whoever runs this machine and isn't for us to see.
                continue
    return found


def traces() -> dict[str, set[str]]:
    """What a cluster could leave on this machine, by kind."""
    rules = sandbox.run(["iptables-save"]).splitlines()
    groups = (group for hierarchy in sandbox.hierarchies() for group in hierarchy.glob("phi3k-*"))
    return {
        "links": {link.name for link in Path("/sys/class/net").iterdir()},
        "mounts": set(Path("/proc/mounts").read_text().splitlines()),
        "rules": {re.sub(r"\[\d+:\d+\]", "", rule) for rule in rules if not rule.startswith("#")},
        "routes": set(sandbox.run(["ip", "route", "show", "table", "all"]).splitlines()),
        "control groups": {str(group) for group in groups},
        "namespaces": namespaces_in_use(),
        "directories": {str(path) for path in sandbox.STATE_ROOT.glob("*")},
    }


@contextmanager
def bare_cluster() -> Iterator[Cluster]:
    """A cluster without operators, for the block."""
    running = up(f"test-{secrets.token_hex(3)}", detached=False, operators=())
    assert running.sandbox is not None
    try:
        yield running
    finally:
        running.sandbox.destroy()


def test_a_second_cluster_runs_beside_the_first_and_leaves_nothing() -> None:
    with bare_cluster() as first:
        before = traces()
        with bare_cluster() as second:
            second.kubectl("create", "namespace", "only-here")
            assert first.try_kubectl("get", "namespace", "only-here").returncode != 0
            during = traces()
        after = traces()
    assert {kind: after[kind] - before[kind] for kind in after} == {kind: set() for kind in after}
    seen = {kind for kind in during if during[kind] - before[kind]}
    assert seen == {"links", "routes", "control groups", "namespaces", "directories"}


def test_a_sandbox_ends_with_its_owner_even_if_that_is_killed() -> None:
    name = f"test-{secrets.token_hex(3)}"
    program = f"from tools.cluster import sandbox; sandbox.create({name!r}, detached=False); print(flush=True); input()"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        left = sandbox.load(name)
        assert left is not None
        assert left.is_running()
        owner.send_signal(signal.SIGKILL)
    sandbox.wait_until(lambda: not left.is_running(), "the end of the sandbox", 10)
    sandbox.remove_dead_sandboxes()
    assert not left.directory.exists()
