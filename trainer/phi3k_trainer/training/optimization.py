"""One optimiser step: gradients summed over forward passes and processes, clipped, and taken or skipped."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from phi3k_trainer.data.batches import MicroBatch
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.training.parallel import gradients_stay_local
from phi3k_trainer.tuning.precision import Precision


def adamw(groups: list[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW in one kernel over the groups' parameters."""
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def add_gradients(
    loss: nn.Module,
    batches: Iterable[MicroBatch],
    *,
    step_labels: int,
    processes: Processes,
    precision: Precision,
    dropout_key: str,
) -> float:
    """Run a step's forward and backward passes on this process.

    Each pass adds the gradient of (its summed cross entropy / `step_labels`), where `step_labels` counts the labels
    of all passes of all processes: the sum is the gradient of the step's mean, however it is split.

    Returns:
        The summed cross entropy of this process's passes.
    """
    total = torch.zeros((), device=processes.device)
    for index, (batch, is_last) in enumerate(with_last(batches)):
        torch.manual_seed(dropout_seed(f"{dropout_key}/{processes.rank}/{index}"))
        with nullcontext() if is_last else gradients_stay_local(loss):
            with precision.context(processes.device):
                cross_entropy, _ = loss(**batch.model_inputs(processes.device, precision.dtype))
            # DDP and FSDP take the mean over processes; we want the sum.
            (cross_entropy * (processes.world_size / step_labels)).backward()
        total += cross_entropy.detach()
    return total.item()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, processes: Processes) -> float:
    """Scale gradients down to a global norm of `max_norm`; returns the norm before.

    Squares are added up in float64: in float32 the sum over a large matrix depends on how it is sharded by more
    than 1e-6. A norm that is not finite leaves the gradients as they are: the step is to be skipped.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    norms = torch.stack([torch.linalg.vector_norm(shard, dtype=torch.float64) for shard in shards])
    square = (norms @ norms).item()
    if isinstance(gradients[0], DTensor):
        (square,) = processes.sum([square])
    norm = math.sqrt(square)
    if max_norm < norm < math.inf:
        torch._foreach_mul_(shards, max_norm / norm)
    return norm


def dropout_seed(key: str) -> int:
    """A seed from `key`: dropout depends on where in the run a pass stands, not on what ran before it."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") >> 1


def with_last(batches: Iterable[MicroBatch]) -> Iterator[tuple[MicroBatch, bool]]:
    """Each batch and whether it is the last."""
    iterator = iter(batches)
    batch = next(iterator)
    for following in iterator:
        yield batch, False
        batch = following
    yield batch, True


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients inside the block."""
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train()
