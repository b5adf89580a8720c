"""The model on several processes: replicated (DDP) or sharded (FSDP2) from outside."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from phi3k_trainer.data.batches import MicroBatch
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.model import Phi3VForCausalLM


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
