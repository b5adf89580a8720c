"""The memory of this machine, for plans that run on its CPU."""

import os
from pathlib import Path

CONTROL_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container sees its limit under control groups v2 and v1."""


def host_memory_bytes() -> int:
    """Bytes of memory that this process may use: the machine's, or less where its control group grants less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    granted = [path.read_text().strip() for path in CONTROL_GROUP_LIMITS if path.exists()]
    return min([total, *(int(limit) for limit in granted if limit.isdigit())])
