"""What training frees on a CPU is free for others."""

import subprocess
import sys
import textwrap

PROGRAM = """
    import re
    from pathlib import Path
    import numpy as np
    from phi3k_trainer.training.allocator import return_large_blocks

    def resident_megabytes():
        return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

    return_large_blocks()
    del (first := {0: np.ones(30 * 2**20, np.uint8)})[0]  # glibc learns from what is freed
    before, kept = resident_megabytes(), []
    activations = []
    for _ in range(20):
        activations.append(np.ones(10 * 2**20, np.uint8))
        kept.append(np.ones(2**16, np.uint8))
    held = resident_megabytes() - before
    activations.clear()
    print(held, resident_megabytes() - before)
"""


def test_activations_between_what_is_kept_leave_no_holes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True, check=True, timeout=60
    )
    held, left = map(float, done.stdout.split())
    assert held > 150
    assert left < 10
