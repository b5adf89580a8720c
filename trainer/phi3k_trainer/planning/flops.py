"""Tokens and model FLOPs of a sample: what MFU and time are reckoned from.

A multiplication with an addition is 2 FLOPs, so a linear layer costs 2 x weights a token forward, and as much again for
each of the two gradients, that of its input and that of its weights (Kaplan et al. 2020). Attention is counted
causal: half of the square. Recomputation is not model work and counts only in `hardware_flops`.
"""

from dataclasses import dataclass

from phi3k_trainer.planning.model_shape import ModelShape
from phi3k_trainer.planning.parameters import (
    Parts,
    language_linears,
    projector_linears,
    trainable_parameters,
    vision_linears,
    weights,
)
from phi3k_trainer.recipe.model import TuningSection


def distinct_views(rows: int, columns: int) -> int:
    """Views that the tower sees: the crops and the global view, which is the same picture where there is one crop."""
    return 1 if rows * columns == 1 else rows * columns + 1


@dataclass(frozen=True)
class Sample:
    """What one sample is made of, on average."""

    text_tokens: int
    image_tokens: int
    views: int
    """Views of 336 x 336 pixels that go through the CLIP tower."""
    label_tokens: int
    """Tokens from which something is learned; logits exist for these only."""

    @property
    def tokens(self) -> int:
        """Tokens of text and pictures."""
        return self.text_tokens + self.image_tokens


def forward_flops(shape: ModelShape, sample: Sample, *, head_tokens: int | None = None) -> Parts:
    """FLOPs of one sample's forward pass.

    `head_tokens`: tokens whose logits are computed; None: the labelled ones. The published code computes all.
    """
    tokens, vision = sample.tokens, shape.vision
    attention = 4 * tokens**2 * shape.num_heads * shape.head_dim // 2
    clip_layer = 2 * weights(vision_linears(vision)) * vision.tokens + 4 * vision.tokens**2 * vision.hidden_size
    patches = 2 * 3 * vision.patch_size**2 * vision.hidden_size * (vision.tokens - 1)
    return Parts(
        language=shape.num_layers * (2 * weights(language_linears(shape)) * tokens + attention),
        head=2
        * shape.hidden_size
        * shape.vocabulary_size
        * (sample.label_tokens if head_tokens is None else head_tokens),
        vision=sample.views * (patches + (vision.num_layers - 1) * clip_layer),
        projector=2 * weights(projector_linears(shape)) * sample.image_tokens,
    )


def step_flops(shape: ModelShape, tuning: TuningSection, sample: Sample, *, head_tokens: int | None = None) -> int:
    """Model FLOPs of one sample's forward and backward pass, adapters included.

    A gradient flows back to a part's input only where something before it learns, and to its weights only where
    they learn.
    """
    forward = forward_flops(shape, sample, head_tokens=head_tokens)
    trains_projector, trains_vision = tuning.projector != "frozen", tuning.vision != "frozen"
    full = tuning.method == "full"
    backward = (2 if full else 1) * (forward.language + forward.head)
    if trains_vision or trains_projector:
        backward += forward.projector * (trains_vision + (tuning.projector == "full"))
    if trains_vision:
        backward += forward.vision * (2 if tuning.vision == "full" else 1)
    return forward.total + backward + adapter_flops(shape, tuning, sample)


def adapter_flops(shape: ModelShape, tuning: TuningSection, sample: Sample) -> int:
    """FLOPs of the adapters of one sample, forward and backward: 6 a weight and token."""
    learning = trainable_parameters(shape, tuning)
    language = 0 if tuning.method == "full" else 6 * learning.language * sample.tokens
    vision = 6 * learning.vision * sample.views * shape.vision.tokens if tuning.vision == "lora" else 0
    projector = 6 * learning.projector * sample.image_tokens if tuning.projector == "lora" else 0
    return language + vision + projector


def hardware_flops(shape: ModelShape, tuning: TuningSection, sample: Sample, *, activation_checkpointing: bool) -> int:
    """FLOPs that the device computes: model FLOPs, and a second forward pass of the layers that are recomputed."""
    again = 0
    if activation_checkpointing:
        forward = forward_flops(shape, sample)
        again = forward.language + (forward.vision if tuning.vision != "frozen" else 0)
    return step_flops(shape, tuning, sample) + again
