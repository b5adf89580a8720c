"""Tensors that may be sharded over the processes, and their full values."""

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def give_up_whole_weights(model: nn.Module) -> None:
    """Leave only the shards of a sharded model: a forward pass without a backward pass keeps the outermost whole."""
    if isinstance(model, FSDPModule):
        model.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The full values of a tensor that may be sharded; all processes must call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(full: Tensor, tensor: Tensor) -> Tensor:
    """`full`, which every process has, on the device of `tensor` and sharded as it is."""
    if not isinstance(tensor, DTensor):
        return full.to(tensor.device)
    return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
