"""How fast training is: tokens, samples, the share of the device's peak, and what it waits for."""

import resource

import torch


class SpeedMeter:
    """Adds up steps between two logged points."""

    def __init__(self, *, flops_per_token: float | None, peak_flops: float | None) -> None:
        """Measure against `peak_flops` a second of all devices together; None where either is not known.

        Args:
            flops_per_token: Model FLOPs of one token's forward and backward pass.
            peak_flops: FLOPs a second that the devices could do.
        """
        self._utilisation = flops_per_token / peak_flops if flops_per_token and peak_flops else None
        self._reset()

    def add(self, *, num_tokens: int, num_samples: int, seconds: float, wait_seconds: float) -> None:
        """Count one step."""
        self._steps += 1
        self._tokens += num_tokens
        self._samples += num_samples
        self._seconds += seconds
        self._wait_seconds += wait_seconds

    def take(self) -> dict[str, float]:
        """The metrics of the steps since the last call, at least one."""
        tokens_per_second = self._tokens / self._seconds
        metrics = {
            "train/tokens_per_second": tokens_per_second,
            "train/samples_per_second": self._samples / self._seconds,
            "train/step_seconds": self._seconds / self._steps,
            "train/data_wait_seconds": self._wait_seconds / self._steps,
            "train/memory_gb": peak_memory() / 1e9,
        }
        if self._utilisation is not None:
            metrics["train/mfu"] = tokens_per_second * self._utilisation
        self._reset()
        return metrics

    def _reset(self) -> None:
        self._steps = self._tokens = self._samples = 0
        self._seconds = self._wait_seconds = 0.0


def peak_memory() -> int:
    """Most bytes held so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
