"""What `phi3k doctor` checks, one function for each subject."""

import ctypes.util
import netrc
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from phi3k.printing import gibibytes
from phi3k_trainer.recipe import Recipe

NEEDED = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "pillow", "pyarrow")
OPTIONAL = {
    "bitsandbytes": "tuning.method qlora needs it",
    "flash-attn": "without it attention uses SDPA",
    "wandb": "without it runs are tracked in local files only",
}
LEAST_FREE_BYTES = 10 * 2**30
LEAST_SHARED_MEMORY_BYTES = 2**30


class Status(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    WARNING = "warning"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    status: Status
    found: str
    advice: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def all_checks(recipe: Recipe | None, gpus: int) -> list[Check]:
    """Check everything; with a recipe also its paths and its tracker."""
    return [*versions(), *devices(gpus), *memory(), *paths(recipe), tracker()]


def versions() -> Iterator[Check]:
    """Python and packages."""
    python = platform.python_version()
    yield Check("phi3k", Status.GOOD, f"{version('phi3k')} on Python {python}, {platform.platform()}")
    for name in NEEDED:
        found = _installed(name)
        if found:
            yield Check(name, Status.GOOD, found)
        else:
            yield Check(name, Status.FAILED, "not installed", "install phi3k[train]")
    for name, why in OPTIONAL.items():
        found = _installed(name)
        yield Check(name, Status.GOOD if found else Status.WARNING, found or "not installed", None if found else why)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def devices(wanted: int) -> Iterator[Check]:
    """GPUs with their driver and NCCL; none is fine unless some are wanted."""
    if _installed("torch") is None:
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    too_few = Check("GPUs", Status.FAILED, f"{count}, wanted {wanted}", "check the driver and the device plugin")
    if count == 0:
        none = Check("GPUs", Status.WARNING, "none", "training runs on the CPU: fine for `base: tiny`")
        yield too_few if wanted else none
        return
    yield too_few if count < wanted else Check("GPUs", Status.GOOD, str(count))
    for index in range(count):
        device = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        yield Check(f"GPU {index}", Status.GOOD, f"{device.name}, {gibibytes(total)}, {gibibytes(free)} free")
    bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    advice = None if bfloat16 else "set model.dtype to float32"
    yield Check("bfloat16", Status.GOOD if bfloat16 else Status.WARNING, "yes" if bfloat16 else "no", advice)
    yield Check("driver", Status.GOOD, f"{_driver()}, CUDA {torch.version.cuda}")
    nccl = torch.distributed.is_nccl_available()
    found = ".".join(map(str, torch.cuda.nccl.version())) if nccl else "none"  # type: ignore[no-untyped-call]
    yield Check(
        "NCCL",
        Status.GOOD if nccl else Status.WARNING,
        found,
        None if nccl else "without it a run can use only one GPU",
    )


def _driver() -> str:
    file = Path("/proc/driver/nvidia/version")
    if file.exists():
        return next((word for word in file.read_text().split() if word[0].isdigit() and "." in word), "unknown")
    return "found" if ctypes.util.find_library("cuda") else "unknown"


def memory() -> Iterator[Check]:
    """Memory as the control group grants it, CPUs, and /dev/shm."""
    from phi3k_trainer.planning.host import host_memory_bytes

    total = host_memory_bytes()
    yield Check("memory", Status.GOOD, f"{gibibytes(total)}, {len(os.sched_getaffinity(0))} CPUs")
    if Path("/dev/shm").is_dir():
        size = shutil.disk_usage("/dev/shm").total
        enough = size >= LEAST_SHARED_MEMORY_BYTES
        advice = None if enough else "several GPUs need more: raise cluster.resources.shared_memory"
        yield Check("/dev/shm", Status.GOOD if enough else Status.WARNING, gibibytes(size), advice)


def paths(recipe: Recipe | None) -> Iterator[Check]:
    """The directories that a run writes to, with the mounts they lie on; without a recipe the default ones."""
    data_cache = recipe.data.cache if recipe else "~/.cache/phi3k"
    runs = recipe.checkpoint.directory if recipe else "runs"
    hub = os.environ.get("HF_HOME", "~/.cache/huggingface")
    places = {"runs": runs, "data cache": data_cache, "model cache": hub, "temporary": tempfile.gettempdir()}
    for name, place in places.items():
        yield _writable(name, Path(place).expanduser().absolute())


def _writable(name: str, place: Path) -> Check:
    there = next(directory for directory in (place, *place.parents) if directory.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Check(name, Status.FAILED, f"{place}: {error.strerror}", "make it writable or name another directory")
    free = shutil.disk_usage(there).free
    found = f"{place}: {gibibytes(free)} free on {_mount(there)}"
    if free < LEAST_FREE_BYTES:
        return Check(
            name, Status.WARNING, found, f"less than {gibibytes(LEAST_FREE_BYTES)} may not be enough for a run"
        )
    return Check(name, Status.GOOD, found)


def _mount(directory: Path) -> str:
    """Mount point and type of the file system that a directory lies on."""
    point = next(parent for parent in (directory, *directory.parents) if parent.is_mount())
    mounts = Path("/proc/mounts")
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    kinds = [fields[2] for fields in map(str.split, lines) if fields[1] == str(point)]
    return f"{point} ({kinds[-1]})" if kinds else str(point)


def tracker() -> Check:
    """Whether W&B has credentials; the network is not used."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    if os.environ.get("WANDB_API_KEY"):
        return Check("W&B", Status.GOOD, f"WANDB_API_KEY is set, server {server}")
    host = server.partition("//")[2].partition("/")[0].partition(":")[0]
    try:
        known = netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        known = False
    if known:
        return Check("W&B", Status.GOOD, f"credentials for {host} in the netrc file")
    return Check("W&B", Status.WARNING, "no credentials", "runs are logged offline: set WANDB_API_KEY or `wandb login`")
