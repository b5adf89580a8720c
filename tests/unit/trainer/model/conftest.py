"""A model of a few thousand weights: all the parts, nothing that takes time."""

from typing import Any

import pytest
import torch

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM

STOP, END_OF_TEXT = 62, 61
"""`<|end|>` and `<|endoftext|>` of the small model, which has no tokenizer."""


def small_config(**changes: Any) -> Phi3VConfig:
    """Two layers of width 32, and a tower of three with 4 x 4 patches: 4 tokens a crop, 12 for a picture of one."""
    settings: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "rope_scaling": {"type": "su", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 4.0, 8.0]},
        "bos_token_id": 1,
        "eos_token_id": [STOP, END_OF_TEXT],
        "pad_token_id": END_OF_TEXT,
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "patch_size": 84,
        },
    }
    return Phi3VConfig(**(settings | changes))


def small_model(**changes: Any) -> Phi3VForCausalLM:
    """The small model with random weights large enough for each of them to show in the output."""
    generator = torch.Generator().manual_seed(0)
    model = Phi3VForCausalLM(small_config(**changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + 0.1 * noise if is_norm else 0.3 * noise)
    return model.eval()


def crops(seed: int, *grids: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Pictures of noise in the form of the training path; of a single crop both views are the same."""
    generator = torch.Generator().manual_seed(seed)
    views = []
    for h, w in grids:
        picture = torch.randn(1 + h * w, 3, 336, 336, generator=generator)
        views.append(picture[:1].expand(2, -1, -1, -1) if (h, w) == (1, 1) else picture)
    return {"image_crops": torch.cat(views), "image_sizes": torch.tensor(grids) * 336}


def places(config: Phi3VConfig, number: int, grid: tuple[int, int]) -> list[int]:
    """The placeholders of picture `number`."""
    return [-number] * config.image_tokens(*grid)


@pytest.fixture(scope="module")
def model() -> Phi3VForCausalLM:
    return small_model()
