"""The model as a recipe wants it trained: loaded, quantised, with adapters, weights chosen and in their types.

Frozen weights have the recipe's dtype. Trained weights are float32: AdamW's small steps would be lost in bfloat16's
8 bits. The forward pass casts them to the recipe's dtype (autocast, or FSDP's mixed precision).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from phi3k_trainer.model.loading import load_config, load_model
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.tuning.adapters import adapter_config, attach_adapters
from phi3k_trainer.tuning.parameter_groups import select_trained
from phi3k_trainer.tuning.quantization import check_bitsandbytes, check_sizes, quantize_language_model


@dataclass(frozen=True)
class TunedModel:
    """The model with the weights to train requiring gradients."""

    model: Phi3VForCausalLM
    adapter_config: dict[str, Any] | None
    """PEFT's adapter_config.json; None without adapters."""


def torch_dtype(recipe: Recipe) -> torch.dtype:
    """The recipe's model.dtype."""
    return torch.bfloat16 if recipe.model.dtype == "bfloat16" else torch.float32


def build_tuned_model(
    recipe: Recipe, base: Path, device: torch.device, *, recompute: bool = False, quantize: bool = True
) -> TunedModel:
    """Load the model in the directory `base` and make it ready to train, on `device`.

    The same recipe gives the same weights, also the random ones of new adapters.

    Args:
        recipe: The recipe in force.
        base: Directory in the published layout.
        device: Where the weights are put.
        recompute: Whether layers are computed again in the backward pass instead of kept (activation checkpointing).
        quantize: False leaves QLoRA's frozen weights whole, to merge adapters into.

    Raises:
        RecipeError: QLoRA can't quantise matrices of the model's sizes.
        UnavailableError: bitsandbytes is needed and does not run here.
        MissingInputError, DataError: `base` is not a whole Phi-3-Vision model.
    """
    quantize = quantize and recipe.tuning.method == "qlora"
    if quantize:
        check_sizes(load_config(base))
        check_bitsandbytes(device)
    dtype = torch_dtype(recipe)
    first_device = torch.device("cpu") if quantize else device
    model = load_model(base, dtype=dtype, attention=recipe.model.attention, device=first_device)
    if quantize:
        quantize_language_model(model, dtype, device)
        model.to(device)
    config: Phi3VConfig = model.config
    adapters = adapter_config(recipe.tuning, config.vision_config.num_hidden_layers, recipe.model.base)
    if adapters is not None:
        torch.manual_seed(recipe.training.seed)
        attach_adapters(model, adapters)
    select_trained(model, recipe.tuning)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    if recompute:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return TunedModel(model, _json_config(adapters))


def _json_config(adapters: Any) -> dict[str, Any] | None:
    if adapters is None:
        return None
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in adapters.to_dict().items()}
    return {**values, "inference_mode": True}
