"""How the samples of a step are spread over processes and forward passes, and the tensors of one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phi3k_trainer.data.encoding import EncodedExample
from phi3k_trainer.images.hd import views
from phi3k_trainer.prompts.encoding import IGNORED

BLANK = EncodedExample(np.zeros(2, np.int64), np.full(2, IGNORED, np.int64), ())
"""A row that nothing is learned from: a process computes it when it has no samples left but others do."""


def split_step(
    samples: Sequence[int] | NDArray[np.int64],
    lengths: NDArray[np.int64],
    tokens_per_batch: int,
    world_size: int,
    *,
    length_boundary: int | None = None,
) -> list[list[list[int]]]:
    """Split one step's samples over `world_size` processes, and each share into forward passes.

    Every process gets about the same number of tokens, and the same number of forward passes: an empty one
    is a list without samples, so that processes meet in every collective operation.

    Args:
        samples: Ids of the step's samples.
        lengths: Tokens of every sample of the data set.
        tokens_per_batch: Most tokens of one forward pass, padding included; a longer sample goes alone.
        world_size: Number of processes.
        length_boundary: Samples up to this length never share a forward pass with longer ones: the long-context
            rotary embedding of Phi-3 changes there for all rows of a batch at once.

    Returns:
        Sample ids by process and forward pass.
    """
    # Longest first, each to the process with the fewest tokens so far (LPT scheduling); ids settle ties.
    descending = sorted((int(sample) for sample in samples), key=lambda sample: (-lengths[sample], sample))
    shares: list[list[int]] = [[] for _ in range(world_size)]
    tokens = [0] * world_size
    for sample in descending:
        rank = tokens.index(min(tokens))
        shares[rank].append(sample)
        tokens[rank] += int(lengths[sample])
    batches = [_fill_batches(share, lengths, tokens_per_batch, length_boundary) for share in shares]
    passes = max(1, *(len(own) for own in batches))
    return [own + [[] for _ in range(passes - len(own))] for own in batches]


def _fill_batches(
    descending: Sequence[int], lengths: NDArray[np.int64], tokens_per_batch: int, length_boundary: int | None
) -> list[list[int]]:
    """Cut samples, longest first, into batches whose padded size stays within `tokens_per_batch`."""
    batches: list[list[int]] = []
    for sample in descending:
        if batches:
            longest = lengths[batches[-1][0]]
            fits = longest * (len(batches[-1]) + 1) <= tokens_per_batch
            crosses = length_boundary is not None and lengths[sample] <= length_boundary < longest
            if fits and not crosses:
                batches[-1].append(sample)
                continue
        batches.append([sample])
    return batches


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: rows padded on the right, pictures still as uint8."""

    input_ids: Tensor
    """int64 [B, T]; -i stands for image i (from 1) of its row; padding is 0."""
    labels: Tensor
    """int64 [B, T]; -100 where nothing is learned."""
    images: tuple[Tensor, ...]
    """uint8 [H, W, 3] each, resized and padded to multiples of 336, in row order."""
    num_samples: int
    """Rows that come from the data."""
    num_tokens: int
    """Tokens of those rows, padding excluded."""

    def model_inputs(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """The arguments of the model's forward on `device`, pictures normalised there to `dtype`.

        There is no attention mask: padding stands on the right, where no causal query looks, and has no labels.
        """
        inputs = {"input_ids": self.input_ids.to(device), "labels": self.labels.to(device)}
        if self.images:
            crops = [views(image.to(device, non_blocking=True)).to(dtype) for image in self.images]
            inputs["image_crops"] = torch.cat(crops)
            inputs["image_sizes"] = torch.tensor([image.shape[:2] for image in self.images], device=device)
        return inputs


def collate(examples: Sequence[EncodedExample]) -> MicroBatch:
    """Make one forward pass of `examples`, or of a blank row if there are none."""
    rows = examples or [BLANK]
    length = max(len(row.input_ids) for row in rows)
    input_ids = np.zeros((len(rows), length), np.int64)
    labels = np.full((len(rows), length), IGNORED, np.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row.input_ids)] = row.input_ids
        labels[index, : len(row.labels)] = row.labels
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        labels=torch.from_numpy(labels),
        images=tuple(torch.from_numpy(image) for row in rows for image in row.images),
        num_samples=len(examples),
        num_tokens=sum(len(example.input_ids) for example in examples),
    )
