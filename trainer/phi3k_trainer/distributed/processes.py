"""The processes of a run: which of them this one is, and how they exchange values.

torchrun's environment variables say how many there are; without them there is one.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from phi3k_trainer.distributed.gpus import device_of

# Fetching and checking a whole data set happens on rank 0 while the others wait.
PREPARATION_TIMEOUT = timedelta(hours=24)
# gloo's threads release the tensors of the last collective a moment after it is done, and need the interpreter for it:
# one that ends in this moment aborts the process (torch 2.15: 4 of about 20 ends on a busy machine).
SETTLING_SECONDS = 0.3


Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up each value over all processes."""
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        summed: list[float] = total.tolist()
        return summed

    def from_first(self, value: Value) -> Value:
        """The `value` of rank 0, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Value) -> list[Value]:
        """The `value` of every process, on every process, by rank."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        distributed.all_gather_object(gathered, value)
        return gathered

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Run the block on rank 0, then on the others, who find what it has left on disk."""
        if self.world_size == 1:
            yield
            return
        group: Any = distributed.new_group(backend="gloo", timeout=PREPARATION_TIMEOUT)
        if not self.is_first:
            distributed.barrier(group)
        yield
        if self.is_first:
            distributed.barrier(group)


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, for the length of the block.

    Raises:
        UnavailableError: there are GPUs, but fewer than processes of this machine.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    device = device_of(int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world_size == 1:
        yield Processes(0, 1, device)
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), world_size, device)
    finally:
        distributed.destroy_process_group()
    # Not after an error: a peer's end is on its way to this process then, and how that ended counts.
    time.sleep(SETTLING_SECONDS)
