"""How a forward pass computes where weights of several types meet."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Precision:
    """How the forward pass computes."""

    dtype: torch.dtype
    """Type of matrix products."""
    use_autocast: bool
    """Whether float32 weights have to be cast on the way (FSDP does it itself)."""

    def context(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context of a forward pass on `device`."""
        return torch.autocast(device.type, self.dtype) if self.use_autocast else nullcontext()
