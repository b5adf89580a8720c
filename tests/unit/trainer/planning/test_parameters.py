"""Counting weights, held against the real model on the meta device."""

import pytest
import torch

from phi3k_trainer.model import Phi3VConfig, Phi3VForCausalLM
from phi3k_trainer.planning import ModelShape, parameters, trainable_parameters
from phi3k_trainer.recipe.model import TuningSection
from phi3k_trainer.tuning.adapters import adapter_config, attach_adapters
from phi3k_trainer.tuning.parameter_groups import part_of, select_trained

SMALL = {
    "model_type": "phi3_v",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": 28,
    },
}


def model_on_meta(config: dict[str, object]) -> Phi3VForCausalLM:
    with torch.device("meta"):
        return Phi3VForCausalLM(Phi3VConfig(rope_scaling=None, pad_token_id=0, **config))


def test_the_published_models_have_4_146_621_440_weights() -> None:
    assert parameters(ModelShape()).total == 4_146_621_440


def test_the_parts_of_the_published_models() -> None:
    parts = parameters(ModelShape())
    assert (parts.embedding, parts.head) == (98_500_608, 98_500_608)
    assert parts.language == pytest.approx(3.624e9, rel=1e-3)
    assert parts.vision == pytest.approx(303.5e6, rel=1e-3)
    assert parts.projector == pytest.approx(22.0e6, rel=2e-3)


def test_a_small_model_is_counted_as_it_is_built() -> None:
    model = model_on_meta(SMALL)
    assert parameters(ModelShape.from_config(SMALL)).total == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    "tuning",
    [
        TuningSection(method="full"),
        TuningSection(method="full", vision="full", projector="full"),
        TuningSection(rank=4),
        TuningSection(rank=4, targets=("qkv_proj", "down_proj")),
        TuningSection(rank=4, vision="lora", projector="lora"),
        TuningSection(rank=4, vision="full", projector="full"),
        TuningSection(method="dora", rank=4),
        TuningSection(method="dora", rank=4, vision="lora", projector="lora"),
    ],
    ids=lambda tuning: f"{tuning.method}-{len(tuning.targets)}-{tuning.vision}-{tuning.projector}",
)
def test_trained_weights_are_counted_as_the_trainer_selects_them(tuning: TuningSection) -> None:
    model = Phi3VForCausalLM(Phi3VConfig(rope_scaling=None, pad_token_id=0, **SMALL))
    config = adapter_config(tuning, 3, "base")
    if config is not None:
        attach_adapters(model, config)
    select_trained(model, tuning)
    counted = {"language": 0, "vision": 0, "projector": 0}
    for name, weight in model.named_parameters():
        counted[part_of(name)] += weight.numel() * weight.requires_grad
    planned = trainable_parameters(ModelShape.from_config(SMALL), tuning)
    assert planned.embedding + planned.language + planned.head == counted["language"]
    assert (planned.vision, planned.projector) == (counted["vision"], counted["projector"])


def test_qlora_trains_what_lora_trains() -> None:
    shape = ModelShape()
    assert trainable_parameters(shape, TuningSection(method="qlora")) == trainable_parameters(shape, TuningSection())
