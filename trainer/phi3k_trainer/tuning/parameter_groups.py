"""Which weights learn, and how fast: the parts of the model, and the optimiser's parameter groups."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

from phi3k_trainer.recipe.model import TuningSection
from phi3k_trainer.recipe.training import TrainingSection

Part = Literal["language", "vision", "projector"]

_ADAPTER = re.compile(r"\.lora_")
_SEPARATORS = ("glb_GN", "sub_GN")


def part_of(name: str) -> Part:
    """The part of the model that the parameter (or module) `name` belongs to; separators go with the projector."""
    if ".vision_embed_tokens." not in f".{name}.":
        return "language"
    return "vision" if ".img_processor." in f".{name}." else "projector"


def is_adapter(name: str) -> bool:
    """Whether the parameter `name` belongs to an adapter."""
    return _ADAPTER.search(name) is not None


def select_trained(model: nn.Module, tuning: TuningSection) -> None:
    """Let exactly those parameters require a gradient that `tuning` trains, adapters included.

    Weights that never reach the output (CLIP's last layer) stay frozen: processes would wait for their gradients.
    """
    how = {"language": tuning.method, "vision": tuning.vision, "projector": tuning.projector}
    unused = {id(parameter) for parameter in _unused_parameters(model)}
    for name, parameter in model.named_parameters():
        is_trained = is_adapter(name) or (how[part_of(name)] == "full" and id(parameter) not in unused)
        parameter.requires_grad_(is_trained)


def _unused_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    tower = model.get_submodule("model.vision_embed_tokens.img_processor.vision_model")
    for module in tower.unused_modules():  # type: ignore[operator]
        yield from module.parameters()


def peak_learning_rates(training: TrainingSection, tuning: TuningSection) -> dict[Part, float]:
    """Peak learning rate of each part, as the recipe's fields document their defaults."""
    vision_share = 0.1 if tuning.vision == "full" else 1.0
    return {
        "language": training.learning_rate,
        "vision": training.vision_learning_rate or training.learning_rate * vision_share,
        "projector": training.projector_learning_rate or training.learning_rate,
    }


def parameter_groups(model: nn.Module, training: TrainingSection, tuning: TuningSection) -> list[dict[str, Any]]:
    """The trained parameters for AdamW, by part and by whether weight decay applies; no group is empty.

    Vectors (norms, biases, DoRA's magnitudes) and the separators of image rows don't decay. Each group has,
    besides what AdamW reads, `part` and `peak_learning_rate`.
    """
    rates = peak_learning_rates(training, tuning)
    groups: dict[tuple[Part, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and not name.endswith(_SEPARATORS)
            groups.setdefault((part_of(name), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "part": part,
            "lr": rates[part],
            "peak_learning_rate": rates[part],
            "weight_decay": training.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]
