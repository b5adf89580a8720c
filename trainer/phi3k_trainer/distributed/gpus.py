"""The GPUs that a run was given: whether torch sees as many as were requested, and whether a device computes correctly.

As a program (`python -m phi3k_trainer.distributed.gpus ASKED HERE`) it is the first check of the entry point:
importing torch takes memory that the entry point would hold to the end.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from phi3k_trainer.contract import OUTCOMES_VARIABLE
from phi3k_trainer.errors import UnavailableError
from phi3k_trainer.replica.exit_report import ExitReport, write_exit_report

DRIVER_VERSION = Path("/proc/driver/nvidia/version")
DEVICE_FILES = Path("/dev")
# The device plugin names in it what the runtime class `nvidia` has to pass into the container.
PASSED_DEVICES_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
# Sums of this many -1, 0 and 1 are exact in bfloat16, whose integers end at 256.
SIDE = 256


@dataclass(frozen=True)
class SeenGpus:
    """What this container shows of its GPUs."""

    count: int
    """GPUs that torch sees."""
    cuda: str | None
    """The CUDA version that torch was built for; None: none."""
    error: str | None
    """The error of torch when it initialises CUDA, None where that works."""
    driver: str | None
    """The driver's own line, None where the kernel has no driver."""
    devices: tuple[str, ...]
    """Device files."""
    passed: str | None
    """The value of NVIDIA_VISIBLE_DEVICES."""

    def __str__(self) -> str:
        """One line for the message."""
        facts = {
            "torch is built for": f"CUDA {self.cuda}" if self.cuda else "no CUDA",
            "torch's error": self.error or "none",
            "driver": self.driver or "none",
            "device files": " ".join(self.devices) or "none",
            PASSED_DEVICES_VARIABLE: self.passed or "not set",
        }
        return "; ".join(f"{name}: {fact}" for name, fact in facts.items())

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.cuda is None:
            return "Set cluster.image to an image whose torch is built for this GPU"
        if not self.devices:
            return (
                "The container got no GPU: its runtime class is not NVIDIA's. Set cluster.pod.runtime_class to nvidia "
                "(k3s and RKE2 need it), ask for a device plugin that passes GPUs"
            )
        if self.error is not None:
            return "Update the node's driver to one for this CUDA, or set cluster.image to an image of an older CUDA"
        return "Ask for as many GPUs as a node passes to one pod, and for whole ones: of MIG's parts torch sees one"


def seen_gpus(environment: Mapping[str, str]) -> SeenGpus:
    """Look at the GPUs of this container; torch begins to use CUDA, if it can."""
    error = None
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as problem:
        error = _first_line(problem)
    return SeenGpus(
        count=torch.cuda.device_count() if error is None else 0,
        cuda=torch.version.cuda,
        error=error,
        driver=DRIVER_VERSION.read_text().splitlines()[0] if DRIVER_VERSION.exists() else None,
        devices=tuple(sorted(str(path) for path in DEVICE_FILES.glob("nvidia[0-9]*"))),
        passed=environment.get(PASSED_DEVICES_VARIABLE),
    )


def check_count(asked: int, here: int, seen: SeenGpus) -> None:
    """Refuse a replica that would train on the CPU, or two processes on one GPU, though GPUs were asked for.

    Args:
        asked: cluster.gpus, at least 1.
        here: How many of them are this replica's, one for each of its processes.
        seen: What there is.

    Raises:
        UnavailableError: torch sees fewer than `here`.
    """
    if seen.count >= here:
        return
    share = "" if here == asked else f", {here} in each replica"
    raise UnavailableError(
        f"cluster.gpus is {asked}{share}, torch sees {seen.count or 'none'}. {seen.remedy}, or train on the CPU with "
        f"cluster.gpus 0. Seen: {seen}"
    )


def device_of(local_rank: int) -> torch.device:
    """The device of a process of this machine: its own GPU where there are GPUs, else the CPU.

    Raises:
        UnavailableError: there are GPUs, but none for this process.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise UnavailableError(
            f"process {local_rank + 1} of this machine has no GPU of its own: torch sees {count}. Start as many "
            "processes as there are GPUs"
        )
    return torch.device("cuda", local_rank)


def check_product(device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a device that multiplies two small matrices wrong: integers that are exact in every floating type.

    Raises:
        UnavailableError: the product is wrong, or the device fails at it.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(-1, 2, (SIDE, SIDE), generator=generator) for _ in range(2))
    expected = left @ right
    try:
        product = (left.to(device, dtype) @ right.to(device, dtype)).cpu().to(torch.int64)
    except RuntimeError as error:
        raise UnavailableError(f"{_name(device)} can't multiply {dtype} matrices: {_first_line(error)}") from error
    wrong = int((product != expected).sum())
    if wrong:
        raise UnavailableError(
            f"{_name(device)} computes wrong: {wrong} of {expected.numel()} elements of a known product of {dtype} "
            "matrices. Keep runs from this device until it is repaired"
        )


def _name(device: torch.device) -> str:
    """The device as its administrator knows it."""
    if device.type != "cuda":
        return f"device {device} of {os.uname().nodename}"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, UUID {properties.uuid}) of {os.uname().nodename}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def main(asked: int, here: int) -> int:
    """Check the number of GPUs for the entry point, and write a report for it if it is wrong; return the exit code."""
    try:
        check_count(asked, here, seen_gpus(os.environ))
    except UnavailableError as error:
        write_exit_report(Path(os.environ[OUTCOMES_VARIABLE]), 0, ExitReport(error.exit_code, str(error)))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
