"""LoRA and DoRA through PEFT, injected into the model in place, so that it stays a Phi3VForCausalLM."""

import re
from typing import TYPE_CHECKING

import torch
from torch import nn

from phi3k_trainer.recipe.model import TuningSection

if TYPE_CHECKING:  # PEFT is slow to import and only needed where there are adapters
    from peft import LoraConfig

ADAPTER_NAME = "default"
VISION_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def adapter_config(tuning: TuningSection, num_vision_layers: int, base: str) -> "LoraConfig | None":
    """PEFT's configuration for `tuning`, or None when it trains no adapter.

    Args:
        tuning: The recipe's section.
        num_vision_layers: Layers of the CLIP tower; the last is never run and gets no adapter.
        base: What the adapters belong to, for PEFT's `base_model_name_or_path`.
    """
    patterns = []
    if tuning.method != "full":
        patterns.append(rf"model\.layers\.\d+\.(self_attn|mlp)\.({'|'.join(tuning.targets)})")
    if tuning.vision == "lora":
        layers = "|".join(str(layer) for layer in range(num_vision_layers - 1))
        patterns.append(rf"model\.vision_embed_tokens\.img_processor\..*\.({layers})\..*\.({'|'.join(VISION_TARGETS)})")
    if tuning.projector == "lora":
        patterns.append(r"model\.vision_embed_tokens\.img_projection\.(0|2)")
    if not patterns:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,  # type: ignore[arg-type]  # declared int; any number works
        lora_dropout=tuning.dropout,
        target_modules="|".join(f"({pattern})" for pattern in patterns),
        use_dora=tuning.method == "dora",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )


def attach_adapters(model: nn.Module, config: "LoraConfig") -> None:
    """Add adapters, float32 and without effect yet, to the layers that `config` targets."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config, model, ADAPTER_NAME)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(torch.float32)


def merge_adapters(model: nn.Module) -> None:
    """Fold every adapter into the layer that it stands at, and take it out: the model has its first layout again.

    Raises ValueError when a merged weight is not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def stored_name(name: str) -> str:
    """The name that the trained parameter `name` has in a checkpoint.

    An adapter's is PEFT's (`base_model.model.<layer>.lora_A.weight`), another parameter's is the published one.
    """
    if ".lora_" not in name:
        return name.replace(".base_layer.", ".")
    name = re.sub(rf"(lora_magnitude_vector)\.{ADAPTER_NAME}\.weight$", r"\1", name)
    return "base_model.model." + name.replace(f".{ADAPTER_NAME}.", ".")
