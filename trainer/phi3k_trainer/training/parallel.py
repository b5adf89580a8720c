"""Several processes as one: where this process stands, and the model replicated (DDP) or sharded (FSDP2) from outside.

torchrun's environment variables say how many processes there are; without them there is one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from phi3k_trainer.data.batches import MicroBatch
from phi3k_trainer.model import Phi3VForCausalLM
from phi3k_trainer.training.gpus import device_of

# Fetching and checking a whole data set happens on rank 0 while the others wait.
PREPARATION_TIMEOUT = timedelta(hours=24)

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


class TokenLoss(nn.Module):
    """The model as the loop calls it: batch in, (sum of the cross entropy, number of labels) out."""

    def __init__(self, model: nn.Module) -> None:
        """Compute the loss of `model`, a Phi3VForCausalLM."""
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See Phi3VForCausalLM.token_loss."""
        loss: tuple[Tensor, Tensor] = self.model.token_loss(**inputs)  # type: ignore[operator]
        return loss


def shard(model: Phi3VForCausalLM, processes: Processes, dtype: torch.dtype) -> None:
    """Shard every weight over the processes (FSDP2), a layer at a time; the model computes in `dtype` from then on.

    Trained weights keep their type at rest; gradients are reduced in float32. All processes gather the weights of a
    layer together, so each has to enter the same layers in the same order: those of the vision part also for batches
    without pictures.
    """
    model.model.runs_vision_always = True
    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    layer_classes = model._no_split_modules
    for module in list(model.modules()):
        if type(module).__name__ in layer_classes:
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for entrance in ("token_loss", "get_image_features"):
        register_fsdp_forward_method(model, entrance)


def give_up_whole_weights(model: nn.Module) -> None:
    """Leave only the shards of a sharded model: a forward pass without a backward pass keeps the outermost whole."""
    if isinstance(model, FSDPModule):
        model.reshard()


def replicate(loss: nn.Module, processes: Processes) -> nn.Module:
    """Let the processes add up their gradients (DDP); the identity for one process."""
    if processes.world_size == 1:
        return loss
    device_ids = [processes.device.index] if processes.device.type == "cuda" else None
    return DistributedDataParallel(loss, device_ids, broadcast_buffers=False, gradient_as_bucket_view=True)


def gradients_stay_local(loss: nn.Module) -> AbstractContextManager[None]:
    """Put off adding up gradients to a later pass of the step, where they are replicated.

    Sharded gradients are reduced in every pass: keeping them whole would take the memory that sharding saves.
    """
    return loss.no_sync() if isinstance(loss, DistributedDataParallel) else nullcontext()


def gradients_add_up_in_fixed_order(loss: nn.Module, blank: MicroBatch, processes: Processes) -> None:
    """Let DDP settle its buckets on a pass that changes nothing.

    DDP lays its buckets out anew after the first backward pass, and with them the order of summation. A resumed run
    would else have other rounding in its first step than the run that was never stopped.
    """
    if isinstance(loss, DistributedDataParallel):
        total, _ = loss(**blank.model_inputs(processes.device, torch.float32))
        (total * 0.0).backward()
        loss.zero_grad(set_to_none=True)


def whole(tensor: Tensor) -> Tensor:
    """The full values of a tensor that may be sharded; all processes must call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(full: Tensor, tensor: Tensor) -> Tensor:
    """`full`, which every process has, on the device of `tensor` and sharded as it is."""
    if not isinstance(tensor, DTensor):
        return full.to(tensor.device)
    return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
