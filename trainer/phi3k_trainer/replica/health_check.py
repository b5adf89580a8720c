"""Whether the run in this container moves: `health_check.py FILE` exits with 0 if so, else it says since when not.

The container's readiness probe runs it every few seconds as `python -I -S`, beside the training: it is a program by
itself that imports next to nothing, not even pathlib. `health.py` writes the file.
"""

import json
import os
import sys
import time

# Until the entry point has written the file, its own age counts. It does so before anything else.
FIRST_WORD_SECONDS = 60.0
# A copy of the contract's, which this program can't import; a test compares them.
COMPLAINT = "no progress since {since}: {where}"


def complaint(health: dict[str, object] | None, now: float, started: float) -> str:
    """Return what is wrong, empty if nothing is.

    Args:
        health: What the file holds, None where there is none.
        now: Time in seconds since 1970.
        started: When the container started, likewise.
    """
    if health is None:
        health = {"phase": "starting", "time": started, "limit_seconds": FIRST_WORD_SECONDS}
    progress = float(str(health["time"]))
    if now - progress <= float(str(health["limit_seconds"])):
        return ""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(progress))
    place = f" at step {health['step']} of {health['total_steps']}" if health.get("total_steps") else ""
    return COMPLAINT.format(since=since, where=f"{health['phase']}{place}")


def read_health(path: str) -> dict[str, object] | None:
    """Return what the file holds, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            content: dict[str, object] = json.load(file)
    except FileNotFoundError:
        return None
    return content


def container_started(now: float) -> float:
    """Return when process 1 of the container started, in seconds since 1970."""
    with open("/proc/1/stat") as stat, open("/proc/uptime") as uptime:  # noqa: PTH123
        ticks = int(stat.read().rpartition(")")[2].split()[19])
        return now - float(uptime.read().split()[0]) + ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Judge the file that the command line names."""
    now = time.time()
    found = complaint(read_health(sys.argv[1]), now, container_started(now))
    if found:
        print(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
