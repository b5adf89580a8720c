"""A machine within the machine: mount, network and PID namespaces for everything that makes up the cluster.

All processes, mounts, links, sockets and packet filter rules of the cluster belong to these namespaces, so fixed ports
and names can't clash with anything, and killing the sandbox's PID 1 makes the kernel remove them. What the kernel
leaves, a control group and a directory, `destroy` removes. All that is seen outside is one end of a link: the way to
the API server.
"""

import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from functools import partial
from pathlib import Path
from typing import IO

from .errors import ELSEWHERE, ClusterError
from .init import KEPT

STATE_ROOT = Path("/var/tmp/phi3k-clusters")
# Reserved for tests between networks (RFC 2544), so no one's real network; each sandbox takes a /30 of it.
LINK_NETWORKS = ipaddress.ip_network("198.18.0.0/16")


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, by what it takes to enter and to remove it.

    `processes` are those that this Python process started: it must hold their pipes and collect their ends.
    """

    name: str
    init: int
    init_started: int
    network: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def directory(self) -> Path:
        """Where everything on disk is."""
        return STATE_ROOT / self.name

    @property
    def link(self) -> str:
        """The outer end of its link; the kernel takes 15 characters."""
        return f"phi3k-{self.name}"[:15]

    @property
    def addresses(self) -> tuple[str, str]:
        """The addresses of the outer and the inner end of the link."""
        outer, inner = ipaddress.ip_network(self.network).hosts()
        return str(outer), str(inner)

    @property
    def cgroup(self) -> str:
        """The control group of all pods, below the root of each hierarchy."""
        return cgroup_of(self.name)

    def spawn(self, name: str, command: Sequence[str]) -> None:
        """Start a process inside, in a session of its own, its output in `log/<name>.log`."""
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.entering(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str, stdin: IO[bytes] | None = None) -> str:
        """Run a command inside to its end and return what it printed.

        Raises:
            ClusterError: it ended with another code than 0.
        """
        return run(self.entering(command), stdin=stdin)

    def entering(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` inside."""
        return ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--", *command]

    def log(self, name: str) -> Path:
        """The file with the output of the process started as `name`."""
        return self.directory / "log" / f"{name}.log"

    def is_running(self) -> bool:
        """Whether PID 1 is still the process that we started."""
        return start_time(self.init) == self.init_started

    def save(self) -> None:
        """Write `sandbox.json`, by which `load` finds the sandbox again."""
        record = {name: getattr(self, name) for name in ("name", "init", "init_started", "network")}
        (self.directory / "sandbox.json").write_text(json.dumps(record))

    def destroy(self) -> None:
        """Kill everything inside and remove what the kernel leaves."""
        if self.is_running():
            os.kill(self.init, signal.SIGKILL)
        for process in self.processes.values():
            process.communicate()
        wait_until(lambda: not self.is_running(), f"the end of the cluster {self.name}", 30)
        # The kernel takes a network namespace apart a little after its last process.
        wait_until(lambda: not Path("/sys/class/net", self.link).exists(), f"the end of the link {self.link}", 30)
        remove_traces(self.name)


def run(command: Sequence[str], stdin: IO[bytes] | None = None) -> str:
    """Run a command to its end and return what it printed; ClusterError with its words if it fails."""
    result = subprocess.run(command, stdin=stdin or subprocess.DEVNULL, capture_output=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` ended with {result.returncode}:\n{result.stderr.decode()[-4000:]}")
    return result.stdout.decode()


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask every 0.1 s; ClusterError after `seconds` without a yes."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s in vain for: {what}")
        time.sleep(0.1)


def cgroup_of(name: str) -> str:
    """The control group of the sandbox `name`."""
    return f"phi3k-{name}"


def hierarchies() -> list[Path]:
    """The mounted cgroup hierarchies; where v1 and v2 are both mounted, runc makes groups in both.

    Raises:
        ClusterError: the machine has only cgroup v2, with which this bring-up was never tried.
    """
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if not any(fields[2] == "cgroup" for fields in mounts):
        raise ClusterError(f"the test cluster needs cgroup v1; {ELSEWHERE}")
    return [Path(fields[1]) for fields in mounts if fields[2] in {"cgroup", "cgroup2"}]


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot, or None: with the PID it names a process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def create(name: str, *, detached: bool) -> Sandbox:
    """Make the namespaces, the link, the control group and the directory.

    A detached sandbox lives until `destroy`; otherwise it also ends with the calling process.

    Raises:
        ClusterError: not root, a sandbox of that name exists, or the machine lacks a part.
    """
    if os.geteuid() != 0:
        raise ClusterError(f"the test cluster needs root on Linux; {ELSEWHERE}")
    remove_dead_sandboxes()
    directory = STATE_ROOT / name
    with (STATE_ROOT / ".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if directory.exists():
            raise ClusterError(f"{directory} exists: `python -m tools.cluster down --name {name}` removes that cluster")
        for part in ("log", *KEPT):
            (directory / part).mkdir(parents=True)
        network = free_network()
        process = start_init(directory, detached=detached)
        init = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        sandbox = Sandbox(name, init, start_time(init) or 0, str(network), {"init": process})
        sandbox.save()
        try:
            connect(sandbox)
            for hierarchy in hierarchies():
                (hierarchy / sandbox.cgroup).mkdir()
        except ClusterError:
            sandbox.destroy()
            raise
    return sandbox


def start_init(directory: Path, *, detached: bool) -> subprocess.Popen[bytes]:
    """Start PID 1 of new namespaces, the only child of the returned process, and wait until it is ready."""
    namespaces = ["unshare", "--mount", "--net", "--pid", "--mount-proc", "--propagation=private"]
    program = [sys.executable, "-I", str(Path(__file__).with_name("init.py")), str(directory)]
    with (directory / "log" / "init.log").open("wb") as log:
        process = subprocess.Popen(
            [*namespaces, "--fork", "--kill-child", "--", *program, "detached" if detached else "attached"],
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise ClusterError(f"the sandbox didn't start:\n{(directory / 'log' / 'init.log').read_text()}")
    return process


def connect(sandbox: Sandbox) -> None:
    """Make the link between this machine and the sandbox."""
    outer, inner = sandbox.addresses
    run(["ip", "link", "add", sandbox.link, "type", "veth", "peer", "name", "machine", "netns", str(sandbox.init)])
    run(["ip", "address", "add", f"{outer}/30", "dev", sandbox.link])
    run(["ip", "link", "set", sandbox.link, "up"])
    sandbox.run("ip", "address", "add", f"{inner}/30", "dev", "machine")
    sandbox.run("ip", "link", "set", "machine", "up")


def free_network() -> ipaddress.IPv4Network:
    """The first /30 of LINK_NETWORKS that no route of this machine touches."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]))
    taken = [ipaddress.ip_network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    for network in LINK_NETWORKS.subnets(new_prefix=30):
        if not any(network.overlaps(other) for other in taken):
            return ipaddress.IPv4Network(network)
    raise ClusterError(f"no free network is left in {LINK_NETWORKS}")


def load(name: str) -> Sandbox | None:
    """The sandbox of that name, running or dead, or None."""
    try:
        return Sandbox(**json.loads((STATE_ROOT / name / "sandbox.json").read_text()))
    except FileNotFoundError:
        return None


def destroy(name: str) -> None:
    """Remove the sandbox of that name, running, dead or half made; nothing happens where there is none."""
    sandbox = load(name)
    if sandbox is None:
        remove_traces(name)
    else:
        sandbox.destroy()


def remove_traces(name: str) -> None:
    """Remove the control groups and the directory of a sandbox that has ended."""
    for hierarchy in hierarchies():
        remove_cgroup(hierarchy / cgroup_of(name))
    if (STATE_ROOT / name).exists():
        shutil.rmtree(STATE_ROOT / name)


def remove_cgroup(group: Path) -> None:
    """Remove a control group and all below it, once their processes have gone."""
    for directory, _, _ in os.walk(group, topdown=False):
        wait_until(partial(is_empty, Path(directory)), f"the end of all processes in {directory}", 30)
        Path(directory).rmdir()


def is_empty(group: Path) -> bool:
    """Whether a control group holds no process (those below it aside)."""
    return not (group / "cgroup.procs").read_text().split()


def remove_dead_sandboxes() -> None:
    """Remove what is left of clusters whose owner was killed."""
    STATE_ROOT.mkdir(parents=True, exist_ok=True)
    for record in STATE_ROOT.glob("*/sandbox.json"):
        sandbox = load(record.parent.name)
        if sandbox is not None and not sandbox.is_running():
            sandbox.destroy()
