"""PEFT's adapter_config.json in a form that older versions of PEFT read."""

from collections.abc import Mapping
from typing import Any

# Read by every version, whatever the default.
_ALWAYS = ("peft_type", "task_type", "base_model_name_or_path", "inference_mode", "r", "lora_alpha", "target_modules")


def short_adapter_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a LoRA configuration what differs from PEFT's defaults.

    PEFT writes every field of its own version, and an older version refuses those that it does not know.
    """
    from peft import LoraConfig

    defaults: dict[str, Any] = LoraConfig().to_dict()  # type: ignore[no-untyped-call]  # PEFT is not strictly typed
    defaults["peft_version"] = config.get("peft_version")
    short = {name: value for name, value in config.items() if name in _ALWAYS or value != defaults.get(name)}
    # A run that began before phi3k set it has none, and PEFT's auto classes refuse that.
    return short | {"task_type": config.get("task_type") or "CAUSAL_LM"}
