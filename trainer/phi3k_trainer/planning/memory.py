"""Memory of one device while it trains, part by part.

At rest, as the trainer keeps it: frozen weights in the recipe's dtype (4-bit under QLoRA), trained weights, their
gradients and AdamW's two moments in float32. Activations: what autograd keeps for the backward pass, counted on the
real model with `saved_tensors_hooks` (tests/unit/planning/test_memory.py holds the coefficients against it).
"""

from dataclasses import dataclass

from phi3k_trainer.planning.flops import Sample
from phi3k_trainer.planning.model_shape import ModelShape
from phi3k_trainer.planning.parameters import (
    language_linears,
    parameters,
    targeted_linears,
    trainable_parameters,
    vision_linears,
    weights,
)
from phi3k_trainer.recipe.model import NF4_BLOCK, TuningSection

DTYPE_BYTES = {"bfloat16": 2, "float32": 4}

TRAINED_BYTES = 4
"""A trained weight at rest, its gradient, and each of AdamW's moments."""

NF4_BYTES = (4 + 8 / NF4_BLOCK + 32 / (NF4_BLOCK * 256)) / 8
"""A weight in 4-bit NormalFloat with double quantisation: blocks of 64 and of 256 (Dettmers et al. 2023, section 3)."""

RUNTIME_BYTES = 800 * 2**20
"""CUDA context, library workspaces and NCCL's buffers; on a CPU, the interpreter and its libraries."""

FRAGMENTATION = 1.05
"""Share that the caching allocator holds beyond what is in use, as an allowance."""

_DECODER_BYTES = {"bfloat16": (20, 6), "float32": (32, 12)}
_DECODER_FULL_BYTES = {"bfloat16": (34, 8), "float32": (52, 16)}
_CLIP_BYTES = {"bfloat16": (12, 4), "float32": (24, 8)}
_CLIP_FULL_BYTES = {"bfloat16": (24, 6), "float32": (32, 12)}
"""Bytes that one layer keeps for each token and unit of (hidden size, intermediate size), with fused attention, where
its own weights are frozen and where all of them learn."""

_DORA_WEIGHT_BYTES = {"bfloat16": 3.5, "float32": 3.0}
"""DoRA also keeps the weights it normalises: bytes for each weight of a targeted layer."""

_LOGIT_BYTES = 14
"""A labelled token's logits in float32, their logarithms, the gradients of both, and one more in bfloat16."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    gathered: int
    """Copies of weights while they compute: layers gathered under FSDP, bfloat16 casts, restored 4-bit weights."""
    runtime: int
    """What the libraries take before anything is loaded, and the allocator's slack."""

    @property
    def total(self) -> int:
        """The peak."""
        parts = (
            self.weights,
            self.gradients,
            self.optimizer,
            self.activations,
            self.logits,
            self.gathered,
            self.runtime,
        )
        return sum(parts)


@dataclass(frozen=True)
class Batch:
    """One forward pass on one device."""

    tokens: int
    views: int
    image_tokens: int
    label_tokens: int


def largest_batch(sample: Sample, tokens_per_batch: int) -> Batch:
    """As many samples as fit into `tokens_per_batch`, at least one; padding fills up the rest."""
    samples = max(1, tokens_per_batch // sample.tokens)
    return Batch(
        tokens=max(tokens_per_batch, sample.tokens),
        views=samples * sample.views,
        image_tokens=samples * sample.image_tokens,
        label_tokens=samples * sample.label_tokens,
    )


def adapter_input_bytes(inputs: int, tuning: TuningSection, dtype: str, dropout_mask_bytes: int) -> int:
    """What adapters keep for each token: their input, and the mask of their dropout (one byte an element on a GPU)."""
    mask = dropout_mask_bytes if tuning.dropout else 0
    return inputs * (DTYPE_BYTES[dtype] + mask)


def decoder_layer_bytes(shape: ModelShape, tuning: TuningSection, dtype: str, *, dropout_mask_bytes: int = 1) -> int:
    """Bytes that one decoder layer keeps for each token."""
    if tuning.method == "full":
        hidden, intermediate = _DECODER_FULL_BYTES[dtype]
        return hidden * shape.hidden_size + intermediate * shape.intermediate_size
    hidden, intermediate = _DECODER_BYTES[dtype]
    targets = targeted_linears(shape, tuning).values()
    kept = adapter_input_bytes(sum(inputs for inputs, _ in targets), tuning, dtype, dropout_mask_bytes)
    if tuning.method == "dora":
        kept += 2 * DTYPE_BYTES[dtype] * sum(outputs for _, outputs in targets)
    return hidden * shape.hidden_size + intermediate * shape.intermediate_size + kept


def clip_layer_bytes(shape: ModelShape, tuning: TuningSection, dtype: str, *, dropout_mask_bytes: int = 1) -> int:
    """Bytes that one CLIP layer keeps for each patch: none when the tower is frozen."""
    vision = shape.vision
    if tuning.vision == "frozen":
        return 0
    hidden, intermediate = (_CLIP_FULL_BYTES if tuning.vision == "full" else _CLIP_BYTES)[dtype]
    kept = 0
    if tuning.vision == "lora":
        linears = vision_linears(vision)
        kept = adapter_input_bytes(sum(inputs for inputs, _ in linears.values()), tuning, dtype, dropout_mask_bytes)
        if tuning.method == "dora":
            kept += 2 * DTYPE_BYTES[dtype] * sum(outputs for _, outputs in linears.values())
    return hidden * vision.hidden_size + intermediate * vision.intermediate_size + kept


def activation_bytes(
    shape: ModelShape, tuning: TuningSection, batch: Batch, dtype: str, *, activation_checkpointing: bool
) -> int:
    """Bytes of activations of a pass; with checkpointing, the input of each layer and one layer in full."""
    size, vision = DTYPE_BYTES[dtype], shape.vision
    patches = batch.views * vision.tokens
    decoder_layer = batch.tokens * decoder_layer_bytes(shape, tuning, dtype) + _dora_bytes(shape, tuning, dtype)
    clip_layer = patches * clip_layer_bytes(shape, tuning, dtype)
    layers, clip_layers = shape.num_layers, vision.num_layers - 1
    if activation_checkpointing:
        residual = 4 if tuning.method == "full" else size
        kept = layers * batch.tokens * residual * shape.hidden_size + decoder_layer
        if tuning.vision != "frozen":
            kept += clip_layers * patches * size * vision.hidden_size + clip_layer
    else:
        kept = layers * decoder_layer + clip_layers * clip_layer
    if (tuning.vision, tuning.projector) != ("frozen", "frozen"):
        kept += batch.image_tokens * size * (4 * vision.hidden_size + 2 * shape.hidden_size)
    return kept


def _dora_bytes(shape: ModelShape, tuning: TuningSection, dtype: str) -> int:
    if tuning.method != "dora":
        return 0
    return int(_DORA_WEIGHT_BYTES[dtype] * weights(targeted_linears(shape, tuning)))


def frozen_bytes(shape: ModelShape, tuning: TuningSection, dtype: str) -> int:
    """Bytes of the weights that don't learn, in the recipe's dtype or in 4 bits."""
    size, stored = DTYPE_BYTES[dtype], parameters(shape)
    linears = shape.num_layers * weights(language_linears(shape))
    frozen = 0.0
    if tuning.method != "full":
        language = NF4_BYTES if tuning.method == "qlora" else size
        frozen += linears * language + (stored.language - linears + stored.embedding + stored.head) * size
    learning = trainable_parameters(shape, tuning)
    frozen += (stored.vision - (learning.vision if tuning.vision == "full" else 0)) * size
    frozen += stored.projector * size if tuning.projector != "full" else 0
    return round(frozen)


def gathered_bytes(shape: ModelShape, tuning: TuningSection, dtype: str, *, sharded: bool) -> int:
    """Bytes of short-lived copies of weights.

    Sharded: two decoder layers (one computes while the next is gathered), everything outside the layers, and one
    layer's gradients in float32 where all learn. Replicated: float32 weights cast to bfloat16 for the length of a pass,
    or the largest 4-bit layer restored.
    """
    size, stored = DTYPE_BYTES[dtype], parameters(shape)
    layer = stored.language // shape.num_layers
    full = tuning.method == "full"
    if sharded:
        outside = stored.embedding + stored.head + stored.projector
        return 2 * layer * size + outside * size + (layer * 4 if full else 0)
    if tuning.method == "qlora":
        return 2 * size * max(inputs * outputs for inputs, outputs in language_linears(shape).values())
    return 2 * (stored.language + stored.head) if full and dtype == "bfloat16" else 0


def peak_memory(
    shape: ModelShape,
    tuning: TuningSection,
    batch: Batch,
    dtype: str,
    *,
    activation_checkpointing: bool,
    shards: int = 1,
) -> Memory:
    """The peak of one device; `shards` devices share weights, gradients and moments (1: each holds a replica)."""
    learning = trainable_parameters(shape, tuning).total
    at_rest = frozen_bytes(shape, tuning, dtype) + learning * TRAINED_BYTES
    parts = {
        "weights": at_rest // shards,
        "gradients": learning * TRAINED_BYTES // shards,
        "optimizer": 2 * learning * TRAINED_BYTES // shards,
        "activations": activation_bytes(shape, tuning, batch, dtype, activation_checkpointing=activation_checkpointing),
        "logits": batch.label_tokens * shape.vocabulary_size * _LOGIT_BYTES,
        "gathered": gathered_bytes(shape, tuning, dtype, sharded=shards > 1),
    }
    slack = round(sum(parts.values()) * (FRAGMENTATION - 1))
    return Memory(**parts, runtime=RUNTIME_BYTES + slack)
