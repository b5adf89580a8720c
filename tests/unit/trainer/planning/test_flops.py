"""Tokens and FLOPs of a sample: the figures of the published models."""

import pytest

from phi3k_trainer.planning import ModelShape, Sample, forward_flops, hardware_flops, step_flops
from phi3k_trainer.planning.flops import distinct_views
from phi3k_trainer.planning.layout import expected_sample
from phi3k_trainer.recipe import parse_recipe
from phi3k_trainer.recipe.model import TuningSection

PUBLISHED = ModelShape()
FULL = TuningSection(method="full", vision="full", projector="full")
# The reference counts two thirds of the full step for LoRA: no weight gradients, adapters left out (hence rank 1),
# and gradients that run back through the tower.
LORA_EVERYWHERE = TuningSection(rank=1, vision="lora", projector="lora")

REFERENCE = [(16, 2563, 80.1, 53.4), (4, 811, 24.1, 16.1), (1, 367, 10.5, 7.0)]
"""num_crops of a square picture with 54 tokens of text: tokens, TFLOP of a full step and of a LoRA step."""


def published_sample(num_crops: int) -> Sample:
    """As the published code sees it: the global view and each crop, and logits for every token."""
    tokens = {16: 2509, 4: 757, 1: 313}[num_crops]
    return Sample(54, tokens, views=num_crops + 1, label_tokens=34)


@pytest.mark.parametrize(("num_crops", "tokens", "views"), [(16, 2509, 17), (4, 757, 5), (1, 313, 1)])
def test_a_recipes_square_picture_has_the_published_number_of_tokens(num_crops: int, tokens: int, views: int) -> None:
    recipe = parse_recipe(
        f"{{apiVersion: phi3k/v1, name: a, model: {{base: tiny, num_crops: {num_crops}}},"
        " data: {source: sample, answer: x}}"
    )
    sample = expected_sample(recipe, PUBLISHED)
    assert (sample.image_tokens, sample.views) == (tokens, views)


@pytest.mark.parametrize(("num_crops", "tokens", "full", "lora"), REFERENCE)
def test_a_step_costs_what_the_reference_measured(num_crops: int, tokens: int, full: float, lora: float) -> None:
    sample = published_sample(num_crops)
    assert sample.tokens == tokens
    assert step_flops(PUBLISHED, FULL, sample, head_tokens=tokens) / 1e12 == pytest.approx(full, rel=0.02)
    assert step_flops(PUBLISHED, LORA_EVERYWHERE, sample, head_tokens=tokens) / 1e12 == pytest.approx(lora, rel=0.02)


def test_the_parts_of_a_forward_pass() -> None:
    flops = forward_flops(PUBLISHED, published_sample(16), head_tokens=2563)
    assert flops.language / 1e12 == pytest.approx(19.9, rel=0.02)
    assert flops.head / 1e12 == pytest.approx(0.5, rel=0.02)
    assert flops.vision / 1e12 == pytest.approx(6.2, rel=0.02)


def test_a_frozen_tower_needs_no_backward_pass() -> None:
    sample = published_sample(16)
    saved = step_flops(PUBLISHED, LORA_EVERYWHERE, sample) - step_flops(PUBLISHED, TuningSection(rank=1), sample)
    assert saved >= forward_flops(PUBLISHED, sample).vision


def test_a_picture_of_one_crop_goes_through_the_tower_once() -> None:
    assert (distinct_views(1, 1), distinct_views(1, 2), distinct_views(2, 2)) == (1, 3, 5)


def test_a_sample_without_a_picture_costs_its_text_only() -> None:
    flops = forward_flops(PUBLISHED, Sample(text_tokens=54, image_tokens=0, views=0, label_tokens=34))
    assert (flops.vision, flops.projector) == (0, 0)


def test_recomputation_is_hardware_work_but_not_model_work() -> None:
    sample = published_sample(4)
    plain = hardware_flops(PUBLISHED, FULL, sample, activation_checkpointing=False)
    again = hardware_flops(PUBLISHED, FULL, sample, activation_checkpointing=True)
    forward = forward_flops(PUBLISHED, sample)
    assert plain == step_flops(PUBLISHED, FULL, sample)
    assert again - plain == forward.language + forward.vision
