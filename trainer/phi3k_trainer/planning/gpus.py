"""GPUs by name: memory and the throughput of dense matrix products.

Sources: NVIDIA's data sheets of A100, H100, H200, L4, L40S, A10, T4 and V100 (SXM versions where there are two), the
HGX B200 data sheet (an eighth of the board), and the architecture white papers of GA102 (RTX 3090), Ada (RTX 4090)
and RTX Blackwell (RTX 5090). Throughput is without sparsity, accumulated in float32.
"""

import difflib
from dataclasses import dataclass

from phi3k_trainer.errors import UsageError


@dataclass(frozen=True)
class Gpu:
    """One accelerator."""

    name: str
    memory_gb: int
    """Gigabytes as sold: 2**30 bytes each."""
    bfloat16_tflops: float | None
    """None where the tensor cores have no bfloat16."""
    float32_tflops: float

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes."""
        return self.memory_gb * 2**30

    def tflops(self, dtype: str) -> float | None:
        """Peak of matrix products in `dtype`, float32 without TF32; None where the device has no such type."""
        return self.float32_tflops if dtype == "float32" else self.bfloat16_tflops


GPUS = (
    Gpu("A100-40GB", 40, 312.0, 19.5),
    Gpu("A100-80GB", 80, 312.0, 19.5),
    Gpu("H100", 80, 989.4, 66.9),
    Gpu("H200", 141, 989.4, 66.9),
    Gpu("B200", 180, 2250.0, 75.0),
    Gpu("L4", 24, 121.0, 30.3),
    Gpu("L40S", 48, 362.0, 91.6),
    Gpu("A10", 24, 125.0, 31.2),
    Gpu("T4", 16, None, 8.1),
    Gpu("V100-16GB", 16, None, 15.7),
    Gpu("V100-32GB", 32, None, 15.7),
    Gpu("RTX-3090", 24, 71.0, 35.6),
    Gpu("RTX-4090", 24, 165.2, 82.6),
    Gpu("RTX-5090", 32, 209.5, 104.8),
)


def find_gpu(name: str) -> Gpu:
    """The GPU of that name, in any case and with spaces for hyphens. Raises UsageError with the nearest name."""
    wanted = name.strip().lower().replace(" ", "-")
    by_name = {gpu.name.lower(): gpu for gpu in GPUS}
    if wanted in by_name:
        return by_name[wanted]
    near = [known for known in by_name if known.startswith(f"{wanted}-")] or difflib.get_close_matches(
        wanted, by_name, 1
    )
    names = [by_name[known].name for known in near]
    hint = f"did you mean {' or '.join(names)}?" if names else f"known are {', '.join(gpu.name for gpu in GPUS)}"
    raise UsageError(f"no GPU called '{name}' is known; {hint}")


def gpu_from_device_name(device: str, memory_bytes: int) -> Gpu | None:
    """The GPU behind a driver's device name such as `NVIDIA A100-SXM4-80GB`, or None when it is not in the table.

    Where one name stands for two sizes, the memory decides.
    """
    words = device.lower().replace("-", " ").split()
    candidates = [gpu for gpu in GPUS if gpu.name.lower().replace("rtx-", "").split("-")[0] in words]
    return min(candidates, key=lambda gpu: abs(gpu.memory_bytes - memory_bytes), default=None)
