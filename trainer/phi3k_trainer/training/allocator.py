"""The C library's allocator, as training on a CPU needs it."""

import ctypes
import platform

# Of <malloc.h>.
M_MMAP_THRESHOLD = -3
# An activation of the published models has more: 805 tokens of hidden size 3,072 in bfloat16 are 4.9 MB.
LARGE_BLOCK_BYTES = 4 * 2**20


def return_large_blocks() -> None:
    """Let glibc give each large block back to the system as soon as it is freed.

    Without this it raises its threshold for that to as much as 32 MiB, following what is freed. Activations then lie in
    the heap, and what stays between them (gradients, moments) keeps their holes resident. `bench/step_memory.py` prints
    the peak of a step beside the plan's.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
