"""PID 1 of the sandbox: lays out its file system, then reaps orphans until it is killed.

Run as a program, by path, inside fresh mount, network and PID namespaces: `init.py STATE_DIRECTORY attached|detached`.
Attached, it ends when its standard input does, so that a cluster never outlives the process that holds the other end,
however that one dies.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

# Directories that are kept on disk, in the state directory: they hold images and volumes.
KEPT = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet", "pods": "/var/log/pods"}


def lay_out(state: Path) -> None:
    """Hide the machine's own runtime directories behind empty ones."""
    # Pods with mount propagation need a shared tree; the namespace was made private, so nothing leaks out of it.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    for directory in ("/run", "/var/lib", "/var/log"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", directory], check=True)
    for name, target in KEPT.items():
        Path(target).mkdir(parents=True)
        subprocess.run(["mount", "--bind", str(state / name), target], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def reap(_signal: int, _frame: object) -> None:
    """Collect every child that has ended: containerd's shims become ours when their starter ends."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    """Lay out, say so on standard output, and wait."""
    state, mode = Path(sys.argv[1]), sys.argv[2]
    lay_out(state)
    signal.signal(signal.SIGCHLD, reap)
    print("ready", flush=True)
    if mode == "attached":
        sys.stdin.read()
    else:
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
